using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Operands of any size in any mode, for the general switch.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private bool _rmwDirect;

    private static ulong SignExtend(ulong value, int size) => size switch
    {
        1 => (ulong)(sbyte)value,
        2 => (ulong)(short)value,
        4 => (ulong)(int)value,
        _ => value,
    };

    private static ulong Truncate(ulong value, int size) => size switch
    {
        1 => (byte)value,
        2 => (ushort)value,
        4 => (uint)value,
        _ => value,
    };

    private static ulong ReadRegister(VpState* vp, int byteOffset, int size) => HostValue.Read((byte*)vp + byteOffset, size);

    // Doubleword results clear the upper half; narrower ones leave the rest.
    private static void WriteRegister(VpState* vp, int byteOffset, int size, ulong value)
    {
        if (size == 4)
        {
            *(ulong*)((byte*)vp + byteOffset) = (uint)value;
        }
        else
        {
            HostValue.Write((byte*)vp + byteOffset, size, value);
        }
    }

    private static bool CompareExchange(byte* address, int size, ulong expected, ulong value)
    {
        switch (size)
        {
            case 1:
                return Interlocked.CompareExchange(ref *address, (byte)value, (byte)expected) == (byte)expected;
            case 2:
                return Interlocked.CompareExchange(ref *(ushort*)address, (ushort)value, (ushort)expected) == (ushort)expected;
            case 4:
                return Interlocked.CompareExchange(ref *(uint*)address, (uint)value, (uint)expected) == (uint)expected;
            default:
                return Interlocked.CompareExchange(ref *(ulong*)address, value, expected) == expected;
        }
    }

    private bool TryLinear(DecodedInstruction* i, int size, bool isStore, out ulong linear) =>
        OperandAddress.TryGetLinear(_state, i, size, isStore, out linear);

    private bool LoadLinear(ulong linear, int size, int segment, out ulong value)
    {
        if (Load(_state, linear, (uint)size, out var address))
        {
            value = HostValue.Read(address, size);
            return true;
        }

        if (Mmu.TryLoad(linear, size, out value))
        {
            return true;
        }

        if (segment == 2)
        {
            Fault.AsStackAccess(_state);
        }

        return false;
    }

    private bool StoreLinear(ulong linear, int size, int segment, ulong value)
    {
        if (Store(_state, linear, (uint)size, out var address))
        {
            HostValue.Write(address, size, value);
            return true;
        }

        if (Mmu.TryStore(linear, size, value))
        {
            return true;
        }

        if (segment == 2)
        {
            Fault.AsStackAccess(_state);
        }

        return false;
    }

    private bool LoadOperand(DecodedInstruction* i, int size, out ulong value)
    {
        value = 0;
        return TryLinear(i, size, isStore: false, out var linear) && LoadLinear(linear, size, i->Segment, out value);
    }

    private bool StoreOperand(DecodedInstruction* i, int size, ulong value) =>
        TryLinear(i, size, isStore: true, out var linear) && StoreLinear(linear, size, i->Segment, value);

    private bool ReadRm(DecodedInstruction* i, int size, out ulong value)
    {
        if (i->IsMemory)
        {
            return LoadOperand(i, size, out value);
        }

        value = ReadRegister(_state, i->RmOffset, size);
        return true;
    }

    private bool WriteRm(DecodedInstruction* i, int size, ulong value)
    {
        if (i->IsMemory)
        {
            return StoreOperand(i, size, value);
        }

        WriteRegister(_state, i->RmOffset, size, value);
        return true;
    }

    /// <summary>
    /// Begins a read-modify-write of the memory operand: where to do it, or null after a fault. EndModify must follow.
    /// </summary>
    private byte* BeginModify(DecodedInstruction* i, ulong linear, int size, bool locked)
    {
        if (Store(_state, linear, (uint)size, out var address))
        {
            _rmwDirect = true;
            return address;
        }

        _rmwDirect = false;
        address = Mmu.BeginRmw(linear, size, locked);
        if (address == null && i->Segment == 2)
        {
            Fault.AsStackAccess(_state);
        }

        return address;
    }

    private void EndModify(bool commit = true)
    {
        if (!_rmwDirect)
        {
            Mmu.EndRmw(commit);
        }
    }

    // ---- Stack

    private ulong StackMask => (_state->Mode & (uint)VpMode.Code64) != 0 ? ulong.MaxValue
        : (_state->Mode & (uint)VpMode.Stack32) != 0 ? uint.MaxValue : 0xFFFF;

    private static void SetStackPointer(VpState* vp, ulong mask, ulong value) =>
        vp->Gpr[4] = mask == 0xFFFF ? (vp->Gpr[4] & ~mask) | (value & mask) : value & mask;

    private bool StoreStack(ulong offset, int size, ulong value) =>
        OperandAddress.TryGetLinear(_state, 2, offset, size, isStore: true, out var linear) && StoreLinear(linear, size, 2, value);

    private bool LoadStack(ulong offset, int size, out ulong value)
    {
        value = 0;
        return OperandAddress.TryGetLinear(_state, 2, offset, size, isStore: false, out var linear) && LoadLinear(linear, size, 2, out value);
    }

    private bool PushValue(int size, ulong value)
    {
        var mask = StackMask;
        var pointer = (_state->Gpr[4] - (ulong)size) & mask;
        if (!StoreStack(pointer, size, value))
        {
            return false;
        }

        SetStackPointer(_state, mask, pointer);
        return true;
    }
}
