using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Emitter;

/// <summary>A general register of the host, by its number in instructions.</summary>
internal enum HostRegister : byte
{
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

/// <summary>The mandatory prefix of an opcode, numbered as VEX.pp numbers it.</summary>
internal enum OpcodePrefix : byte
{
    None,
    OperandSize,
    Repeat,
    RepeatNotEqual,
}

/// <summary>Opcode maps, numbered as VEX.mmmmm numbers them; 0 is the one-byte map.</summary>
internal enum OpcodeMap : byte
{
    Primary,
    Escape0F,
    Escape0F38,
    Escape0F3A,
}

/// <summary>
/// Writes x86-64 machine code into a buffer through its writable view (SDM vol. 2, chapter 2 for the encodings).
/// </summary>
/// <remarks>
/// A plain cursor: the caller reserves enough room (<see cref="Remaining"/>, 15 bytes an instruction at most) before it
/// emits. Nothing here allocates.
/// </remarks>
internal unsafe ref struct CodeEmitter
{
    private readonly byte* _end;
    private readonly long _toExecutable;
    private byte* _cursor;

    /// <summary>Starts at an offset of a code buffer.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal CodeEmitter(ExecutableMemory memory, int offset, int length)
    {
        if ((ulong)length > memory.Length - (ulong)offset)
        {
            throw new ArgumentOutOfRangeException(nameof(length));
        }

        _cursor = memory.Writable + offset;
        _end = _cursor + length;
        _toExecutable = memory.Executable - memory.Writable;
    }

    /// <summary>Starts at a plain address that is executed at the same address plus <paramref name="toExecutable"/>.</summary>
    internal CodeEmitter(byte* start, int length, long toExecutable)
    {
        _cursor = start;
        _end = start + length;
        _toExecutable = toExecutable;
    }

    /// <summary>Where the next byte is written.</summary>
    internal readonly byte* Cursor => _cursor;

    /// <summary>Where the next byte will be executed.</summary>
    internal readonly byte* Executable => _cursor + _toExecutable;

    /// <summary>Bytes left.</summary>
    internal readonly int Remaining => (int)(_end - _cursor);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Byte(int value) => *_cursor++ = (byte)value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Int32(int value)
    {
        Unsafe.WriteUnaligned(_cursor, value);
        _cursor += 4;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Int64(long value)
    {
        Unsafe.WriteUnaligned(_cursor, value);
        _cursor += 8;
    }

    internal void Bytes(scoped ReadOnlySpan<byte> bytes)
    {
        foreach (var value in bytes)
        {
            Byte(value);
        }
    }

    // Some bytes are one store, which may reach a little further than they do: what lies behind the cursor is yet to be written. Code compiled
    // ahead of time would copy spans by calls.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1)
    {
        Unsafe.WriteUnaligned(_cursor, (ushort)((byte)b0 | ((byte)b1 << 8)));
        _cursor += 2;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1, int b2)
    {
        Unsafe.WriteUnaligned(_cursor, (uint)((byte)b0 | ((byte)b1 << 8) | ((byte)b2 << 16)));
        _cursor += 3;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1, int b2, int b3)
    {
        Unsafe.WriteUnaligned(_cursor, (uint)((byte)b0 | ((byte)b1 << 8) | ((byte)b2 << 16) | (b3 << 24)));
        _cursor += 4;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1, int b2, int b3, int b4)
    {
        Unsafe.WriteUnaligned(_cursor, (uint)((byte)b0 | ((byte)b1 << 8) | ((byte)b2 << 16) | (b3 << 24)) | ((ulong)(uint)((byte)b4) << 32));
        _cursor += 5;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1, int b2, int b3, int b4, int b5)
    {
        Unsafe.WriteUnaligned(_cursor, (uint)((byte)b0 | ((byte)b1 << 8) | ((byte)b2 << 16) | (b3 << 24)) | ((ulong)(uint)((byte)b4 | ((byte)b5 << 8)) << 32));
        _cursor += 6;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1, int b2, int b3, int b4, int b5, int b6)
    {
        Unsafe.WriteUnaligned(_cursor, (uint)((byte)b0 | ((byte)b1 << 8) | ((byte)b2 << 16) | (b3 << 24)) | ((ulong)(uint)((byte)b4 | ((byte)b5 << 8) | ((byte)b6 << 16)) << 32));
        _cursor += 7;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Bytes(int b0, int b1, int b2, int b3, int b4, int b5, int b6, int b7)
    {
        Unsafe.WriteUnaligned(_cursor, (uint)((byte)b0 | ((byte)b1 << 8) | ((byte)b2 << 16) | (b3 << 24)) | ((ulong)(uint)((byte)b4 | ((byte)b5 << 8) | ((byte)b6 << 16) | (b7 << 24)) << 32));
        _cursor += 8;
    }

    /// <summary>Leaves bytes out, which the caller writes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Skip(int bytes) => _cursor += bytes;

    /// <summary>The lowest bytes of a value, as many as 8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Immediate(ulong value, int size)
    {
        Unsafe.WriteUnaligned(_cursor, value);
        _cursor += size;
    }

    /// <summary>Pads with int3 so that the next byte lies on a multiple of <paramref name="alignment"/>, 16 at most.</summary>
    internal void Align(int alignment)
    {
        const ulong Padding = 0xCCCC_CCCC_CCCC_CCCC;
        var count = (int)(-(nint)_cursor & (alignment - 1));
        if (count != 0)
        {
            Unsafe.WriteUnaligned(_cursor, Padding);
            Unsafe.WriteUnaligned(_cursor + 8, Padding);
            _cursor += count;
        }
    }

    /// <summary>Mandatory prefix, REX and opcode; REX is left out when it would be empty unless <paramref name="forceRex"/>.</summary>
    /// <param name="reg">Register number 0 to 15 in ModRM.reg.</param>
    /// <param name="index">Register number of SIB.index, 0 without one.</param>
    /// <param name="rm">Register number 0 to 15 in ModRM.rm or SIB.base.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Opcode(OpcodePrefix prefix, OpcodeMap map, int opcode, bool wide, int reg, int index, int rm, bool forceRex = false) =>
        _cursor = PutOpcode(_cursor, prefix, map, opcode, wide, reg, index, rm, forceRex);

    /// <summary>A three-byte VEX prefix and the opcode.</summary>
    internal void VexOpcode(OpcodePrefix prefix, OpcodeMap map, int opcode, bool wide, bool length256, int reg, int vvvv, int index, int rm) => Bytes(
        0xC4, ((~reg & 8) << 4) | ((~index & 8) << 3) | ((~rm & 8) << 2) | (int)map,
        (wide ? 0x80 : 0) | ((~vvvv & 15) << 3) | (length256 ? 4 : 0) | (int)prefix, opcode);

    /// <summary>ModRM naming two registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void ModRmRegister(int reg, int rm) => Byte(0xC0 | ((reg & 7) << 3) | (rm & 7));

    /// <summary>ModRM (with SIB where needed) naming [base + displacement], in the shortest form.</summary>
    internal void ModRmMemory(int reg, int baseRegister, int displacement) => _cursor = PutMemory(_cursor, reg, baseRegister, displacement);

    /// <summary>ModRM and SIB naming [base + index * 2^scale + displacement]; the index is not RSP.</summary>
    internal void ModRmIndexed(int reg, int baseRegister, int index, int scale, int displacement)
    {
        var mod = Mod(baseRegister & 7, displacement);
        Unsafe.WriteUnaligned(_cursor, (ushort)(((mod << 6) | ((reg & 7) << 3) | 4) | (((scale << 6) | ((index & 7) << 3) | (baseRegister & 7)) << 8)));
        _cursor = PutDisplacement(_cursor + 2, mod, displacement);
    }

    /// <summary>One instruction of the form reg, [base + displacement] (or the reverse; the opcode tells).</summary>
    internal void RegisterMemory(
        OpcodePrefix prefix,
        OpcodeMap map,
        int opcode,
        bool wide,
        int reg,
        HostRegister baseRegister,
        int displacement) => PutRegisterMemory(prefix, map, opcode, wide, reg, baseRegister, displacement);

    /// <summary>mov r64, [base + displacement].</summary>
    internal void Load64(HostRegister destination, HostRegister baseRegister, int displacement) =>
        PutRegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, true, (int)destination, baseRegister, displacement);

    /// <summary>mov [base + displacement], r64.</summary>
    internal void Store64(HostRegister baseRegister, int displacement, HostRegister source) =>
        PutRegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x89, true, (int)source, baseRegister, displacement);

    /// <summary>mov r32, [base + displacement].</summary>
    internal void Load32(HostRegister destination, HostRegister baseRegister, int displacement) =>
        PutRegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, false, (int)destination, baseRegister, displacement);

    /// <summary>mov [base + displacement], r32.</summary>
    internal void Store32(HostRegister baseRegister, int displacement, HostRegister source) =>
        PutRegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x89, false, (int)source, baseRegister, displacement);

    /// <summary>mov r64, r64.</summary>
    internal void Move64(HostRegister destination, HostRegister source)
    {
        Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, true, (int)destination, 0, (int)source);
        ModRmRegister((int)destination, (int)source);
    }

    /// <summary>mov r64, imm64.</summary>
    internal void MoveImmediate64(HostRegister destination, long value)
    {
        Byte(0x48 | ((int)destination >> 3));
        Byte(0xB8 | ((int)destination & 7));
        Int64(value);
    }

    /// <summary>A 32-bit operation of the 81h group (0 add, 1 or, 4 and, 5 sub, 6 xor, 7 cmp) with an immediate.</summary>
    internal void Arithmetic32(int operation, HostRegister register, int immediate)
    {
        Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x81, false, 0, 0, (int)register);
        ModRmRegister(operation, (int)register);
        Int32(immediate);
    }

    /// <summary>movups xmm, [base + displacement].</summary>
    internal void LoadVector(int xmm, HostRegister baseRegister, int displacement) =>
        PutRegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0x10, false, xmm, baseRegister, displacement);

    /// <summary>movups [base + displacement], xmm.</summary>
    internal void StoreVector(HostRegister baseRegister, int displacement, int xmm) =>
        PutRegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0x11, false, xmm, baseRegister, displacement);

    internal void Push(HostRegister register)
    {
        Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x50 | ((int)register & 7), false, 0, 0, (int)register);
    }

    internal void Pop(HostRegister register)
    {
        Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x58 | ((int)register & 7), false, 0, 0, (int)register);
    }

    internal void PushFlags() => Byte(0x9C);

    internal void PopFlags() => Byte(0x9D);

    internal void Return() => Byte(0xC3);

    // Constants among the arguments are folded where this is inlined.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void PutRegisterMemory(
        OpcodePrefix prefix, OpcodeMap map, int opcode, bool wide, int reg, HostRegister baseRegister, int displacement)
    {
        var cursor = PutOpcode(_cursor, prefix, map, opcode, wide, reg, 0, (int)baseRegister, false);
        _cursor = PutMemory(cursor, reg, (int)baseRegister, displacement);
    }

    // The cursor stays in a register of the host meanwhile, and what may be too long by some bytes is one store.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* PutOpcode(
        byte* cursor, OpcodePrefix prefix, OpcodeMap map, int opcode, bool wide, int reg, int index, int rm, bool forceRex)
    {
        if (prefix != OpcodePrefix.None)
        {
            *cursor++ = prefix == OpcodePrefix.OperandSize ? (byte)0x66 : prefix == OpcodePrefix.Repeat ? (byte)0xF3 : (byte)0xF2;
        }

        var rex = (wide ? 8 : 0) | ((reg >> 3) << 2) | ((index >> 3) << 1) | (rm >> 3);
        if (rex != 0 || forceRex)
        {
            *cursor++ = (byte)(0x40 | rex);
        }

        if (map != OpcodeMap.Primary)
        {
            *cursor++ = 0x0F;
            if (map != OpcodeMap.Escape0F)
            {
                *cursor++ = map == OpcodeMap.Escape0F38 ? (byte)0x38 : (byte)0x3A;
            }
        }

        *cursor++ = (byte)opcode;
        return cursor;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* PutMemory(byte* cursor, int reg, int baseRegister, int displacement)
    {
        var low = baseRegister & 7;
        var mod = Mod(low, displacement);
        Unsafe.WriteUnaligned(cursor, (ushort)(((mod << 6) | ((reg & 7) << 3) | low) | (0x24 << 8)));
        return PutDisplacement(cursor + (low == 4 ? 2 : 1), mod, displacement);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* PutDisplacement(byte* cursor, int mod, int displacement)
    {
        Unsafe.WriteUnaligned(cursor, displacement);
        return cursor + (mod == 2 ? 4 : mod);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Mod(int low, int displacement) => displacement == 0 && low != 5 ? 0 : displacement == (sbyte)displacement ? 1 : 2;
}
