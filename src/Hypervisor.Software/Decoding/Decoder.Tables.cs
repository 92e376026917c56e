using static Vitro.Hypervisor.Software.Decoding.ImmediateKind;
using static Vitro.Hypervisor.Software.Decoding.OpcodeTraits;
using static Vitro.Hypervisor.Software.Decoding.OperandForm;
using Group = Vitro.Hypervisor.Software.Decoding.OpcodeGroup;

namespace Vitro.Hypervisor.Software.Decoding;

/// <content>The one-byte and 0F opcode maps.</content>
internal static unsafe partial class Decoder
{
    private static readonly OpcodeEntry[] OneByte = BuildOneByte();
    private static readonly OpcodeEntry[] TwoByte = BuildTwoByte();

    private static OpcodeEntry E(
        Operation operation,
        OperandForm form = OperandForm.None,
        OpcodeTraits traits = OpcodeTraits.None,
        ImmediateKind immediate = ImmediateKind.None,
        Group group = Group.None) => new(operation, form, traits, immediate, group);

    private static OpcodeEntry[] BuildOneByte()
    {
        var map = new OpcodeEntry[256];
        for (var i = 0; i < 8; i++)
        {
            var operation = Operation.Add + (ushort)i;
            var locked = operation == Operation.Cmp ? OpcodeTraits.None : Lockable;
            map[(i * 8) + 0] = E(operation, RmReg, ModRm | OpcodeTraits.Byte | locked);
            map[(i * 8) + 1] = E(operation, RmReg, ModRm | locked);
            map[(i * 8) + 2] = E(operation, RegRm, ModRm | OpcodeTraits.Byte);
            map[(i * 8) + 3] = E(operation, RegRm, ModRm);
            map[(i * 8) + 4] = E(operation, RmImmediate, OpcodeTraits.Byte, SignedByte);
            map[(i * 8) + 5] = E(operation, RmImmediate, OpcodeTraits.None, Z);
        }

        foreach (var (opcode, segment) in ((byte, byte)[])[(0x06, 0), (0x0E, 1), (0x16, 2), (0x1E, 3)])
        {
            map[opcode] = E(Operation.PushSegment, OperandForm.None, Invalid64);
            if (segment != 1)
            {
                map[opcode + 1] = E(Operation.PopSegment, OperandForm.None, Invalid64);
            }
        }

        map[0x27] = E(Operation.Daa, traits: Invalid64);
        map[0x2F] = E(Operation.Das, traits: Invalid64);
        map[0x37] = E(Operation.Aaa, traits: Invalid64);
        map[0x3F] = E(Operation.Aas, traits: Invalid64);
        for (var i = 0; i < 8; i++)
        {
            map[0x40 + i] = E(Operation.Inc, Rm, OpcodeRegister | Invalid64);
            map[0x48 + i] = E(Operation.Dec, Rm, OpcodeRegister | Invalid64);
            map[0x50 + i] = E(Operation.Push, Rm, OpcodeRegister | Default64);
            map[0x58 + i] = E(Operation.Pop, Rm, OpcodeRegister | Default64);
            map[0x90 + i] = E(Operation.Xchg, Rm, OpcodeRegister);
            map[0xB0 + i] = E(Operation.Mov, RmImmediate, OpcodeRegister | OpcodeTraits.Byte, SignedByte);
            map[0xB8 + i] = E(Operation.Mov, RmImmediate, OpcodeRegister, Full);
        }

        map[0x60] = E(Operation.PushAll, traits: Invalid64);
        map[0x61] = E(Operation.PopAll, traits: Invalid64);
        map[0x62] = E(Operation.Bound, RegRm, ModRm | Invalid64 | MemoryOnly);
        map[0x63] = E(Operation.Arpl, RmReg, ModRm);
        map[0x68] = E(Operation.Push, OperandForm.Immediate, Default64, Z);
        map[0x69] = E(Operation.Imul, RegRmImmediate, ModRm, Z);
        map[0x6A] = E(Operation.Push, OperandForm.Immediate, Default64, SignedByte);
        map[0x6B] = E(Operation.Imul, RegRmImmediate, ModRm, SignedByte);
        map[0x6C] = E(Operation.Ins, traits: OpcodeTraits.Byte);
        map[0x6D] = E(Operation.Ins);
        map[0x6E] = E(Operation.Outs, traits: OpcodeTraits.Byte);
        map[0x6F] = E(Operation.Outs);
        for (var i = 0; i < 16; i++)
        {
            map[0x70 + i] = E(Operation.Jcc, OperandForm.Immediate, Force64, RelativeByte);
        }

        map[0x80] = E(Operation.Invalid, RmImmediate, ModRm | OpcodeTraits.Byte, SignedByte, Group.Arithmetic);
        map[0x81] = E(Operation.Invalid, RmImmediate, ModRm, Z, Group.Arithmetic);
        map[0x82] = E(Operation.Invalid, RmImmediate, ModRm | OpcodeTraits.Byte | Invalid64, SignedByte, Group.Arithmetic);
        map[0x83] = E(Operation.Invalid, RmImmediate, ModRm, SignedByte, Group.Arithmetic);
        map[0x84] = E(Operation.Test, RmReg, ModRm | OpcodeTraits.Byte);
        map[0x85] = E(Operation.Test, RmReg, ModRm);
        map[0x86] = E(Operation.Xchg, RmReg, ModRm | OpcodeTraits.Byte | Lockable);
        map[0x87] = E(Operation.Xchg, RmReg, ModRm | Lockable);
        map[0x88] = E(Operation.Mov, RmReg, ModRm | OpcodeTraits.Byte);
        map[0x89] = E(Operation.Mov, RmReg, ModRm);
        map[0x8A] = E(Operation.Mov, RegRm, ModRm | OpcodeTraits.Byte);
        map[0x8B] = E(Operation.Mov, RegRm, ModRm);
        map[0x8C] = E(Operation.MovFromSegment, RmReg, ModRm);
        map[0x8D] = E(Operation.Lea, RegRm, ModRm | MemoryOnly);
        map[0x8E] = E(Operation.MovToSegment, RegRm, ModRm);
        map[0x8F] = E(Operation.Pop, Rm, ModRm | Default64, group: Group.Pop);
        map[0x98] = E(Operation.Cbw);
        map[0x99] = E(Operation.Cwd);
        map[0x9A] = E(Operation.CallFar, traits: Invalid64, immediate: Far);
        map[0x9B] = E(Operation.Fwait);
        map[0x9C] = E(Operation.Pushf, traits: Default64);
        map[0x9D] = E(Operation.Popf, traits: Default64);
        map[0x9E] = E(Operation.Sahf);
        map[0x9F] = E(Operation.Lahf);
        map[0xA0] = E(Operation.Mov, RegRm, OpcodeTraits.Byte, Offset);
        map[0xA1] = E(Operation.Mov, RegRm, OpcodeTraits.None, Offset);
        map[0xA2] = E(Operation.Mov, RmReg, OpcodeTraits.Byte, Offset);
        map[0xA3] = E(Operation.Mov, RmReg, OpcodeTraits.None, Offset);
        map[0xA8] = E(Operation.Test, RmImmediate, OpcodeTraits.Byte, SignedByte);
        map[0xA9] = E(Operation.Test, RmImmediate, OpcodeTraits.None, Z);
        foreach (var (opcode, operation) in ((byte, Operation)[])
            [(0xA4, Operation.Movs), (0xA6, Operation.Cmps), (0xAA, Operation.Stos), (0xAC, Operation.Lods), (0xAE, Operation.Scas)])
        {
            map[opcode] = E(operation, traits: OpcodeTraits.Byte);
            map[opcode + 1] = E(operation);
        }

        map[0xC0] = E(Operation.Invalid, RmImmediate, ModRm | OpcodeTraits.Byte, ImmediateKind.Byte, Group.Shift);
        map[0xC1] = E(Operation.Invalid, RmImmediate, ModRm, ImmediateKind.Byte, Group.Shift);
        map[0xC2] = E(Operation.Ret, OperandForm.Immediate, Force64, Word);
        map[0xC3] = E(Operation.Ret, OperandForm.None, Force64);
        map[0xC4] = E(Operation.LoadFarPointer, RegRm, ModRm | Invalid64 | MemoryOnly);
        map[0xC5] = E(Operation.LoadFarPointer, RegRm, ModRm | Invalid64 | MemoryOnly);
        map[0xC6] = E(Operation.Mov, RmImmediate, ModRm | OpcodeTraits.Byte, SignedByte, Group.MovImmediate);
        map[0xC7] = E(Operation.Mov, RmImmediate, ModRm, Z, Group.MovImmediate);
        map[0xC8] = E(Operation.Enter, OperandForm.Immediate, Default64, WordByte);
        map[0xC9] = E(Operation.Leave, traits: Default64);
        map[0xCA] = E(Operation.RetFar, OperandForm.Immediate, OpcodeTraits.None, Word);
        map[0xCB] = E(Operation.RetFar);
        map[0xCC] = E(Operation.Int3);
        map[0xCD] = E(Operation.Int, OperandForm.Immediate, OpcodeTraits.None, ImmediateKind.Byte);
        map[0xCE] = E(Operation.Into, traits: Invalid64);
        map[0xCF] = E(Operation.Iret);
        map[0xD0] = E(Operation.Invalid, RmImmediate, ModRm | OpcodeTraits.Byte, group: Group.Shift);
        map[0xD1] = E(Operation.Invalid, RmImmediate, ModRm, group: Group.Shift);
        map[0xD2] = E(Operation.Invalid, RmCl, ModRm | OpcodeTraits.Byte, group: Group.Shift);
        map[0xD3] = E(Operation.Invalid, RmCl, ModRm, group: Group.Shift);
        map[0xD4] = E(Operation.Aam, OperandForm.Immediate, Invalid64 | OpcodeTraits.Byte, ImmediateKind.Byte);
        map[0xD5] = E(Operation.Aad, OperandForm.Immediate, Invalid64 | OpcodeTraits.Byte, ImmediateKind.Byte);
        map[0xD6] = E(Operation.Salc, traits: Invalid64 | OpcodeTraits.Byte);
        map[0xD7] = E(Operation.Xlat, traits: OpcodeTraits.Byte);
        for (var i = 0; i < 8; i++)
        {
            map[0xD8 + i] = E(Operation.X87, OperandForm.Rm, ModRm);
        }

        map[0xE0] = E(Operation.Loopne, OperandForm.Immediate, Force64, RelativeByte);
        map[0xE1] = E(Operation.Loope, OperandForm.Immediate, Force64, RelativeByte);
        map[0xE2] = E(Operation.Loop, OperandForm.Immediate, Force64, RelativeByte);
        map[0xE3] = E(Operation.Jrcxz, OperandForm.Immediate, Force64, RelativeByte);
        map[0xE4] = E(Operation.In, OperandForm.Immediate, OpcodeTraits.Byte, ImmediateKind.Byte);
        map[0xE5] = E(Operation.In, OperandForm.Immediate, OpcodeTraits.None, ImmediateKind.Byte);
        map[0xE6] = E(Operation.Out, OperandForm.Immediate, OpcodeTraits.Byte, ImmediateKind.Byte);
        map[0xE7] = E(Operation.Out, OperandForm.Immediate, OpcodeTraits.None, ImmediateKind.Byte);
        map[0xE8] = E(Operation.Call, OperandForm.Immediate, Force64, RelativeZ);
        map[0xE9] = E(Operation.Jmp, OperandForm.Immediate, Force64, RelativeZ);
        map[0xEA] = E(Operation.JmpFar, traits: Invalid64, immediate: Far);
        map[0xEB] = E(Operation.Jmp, OperandForm.Immediate, Force64, RelativeByte);
        map[0xEC] = E(Operation.In, traits: OpcodeTraits.Byte);
        map[0xED] = E(Operation.In);
        map[0xEE] = E(Operation.Out, traits: OpcodeTraits.Byte);
        map[0xEF] = E(Operation.Out);
        map[0xF1] = E(Operation.Int1);
        map[0xF4] = E(Operation.Hlt);
        map[0xF5] = E(Operation.Cmc);
        map[0xF6] = E(Operation.Invalid, Rm, ModRm | OpcodeTraits.Byte, group: Group.Unary);
        map[0xF7] = E(Operation.Invalid, Rm, ModRm, group: Group.Unary);
        map[0xF8] = E(Operation.Clc);
        map[0xF9] = E(Operation.Stc);
        map[0xFA] = E(Operation.Cli);
        map[0xFB] = E(Operation.Sti);
        map[0xFC] = E(Operation.Cld);
        map[0xFD] = E(Operation.Std);
        map[0xFE] = E(Operation.Invalid, Rm, ModRm | OpcodeTraits.Byte, group: Group.IncDec);
        map[0xFF] = E(Operation.Invalid, Rm, ModRm, group: Group.Indirect);
        return map;
    }

    private static OpcodeEntry[] BuildTwoByte()
    {
        var map = new OpcodeEntry[256];
        map[0x00] = E(Operation.Invalid, Rm, ModRm, group: Group.Descriptors);
        map[0x01] = E(Operation.Invalid, Rm, ModRm, group: Group.System);
        map[0x02] = E(Operation.Lar, RegRm, ModRm);
        map[0x03] = E(Operation.Lsl, RegRm, ModRm);
        map[0x05] = E(Operation.Syscall);
        map[0x06] = E(Operation.Clts);
        map[0x07] = E(Operation.Sysret);
        map[0x08] = E(Operation.Invd);
        map[0x09] = E(Operation.Wbinvd);
        map[0x0B] = E(Operation.Invalid);
        map[0x0D] = E(Operation.Nop, Rm, ModRm);
        for (var i = 0x18; i < 0x20; i++)
        {
            map[i] = E(Operation.Nop, Rm, ModRm);
        }

        map[0x20] = E(Operation.MovFromControl, RmReg, ModRm | RegisterAlways | Force64);
        map[0x21] = E(Operation.MovFromDebug, RmReg, ModRm | RegisterAlways | Force64);
        map[0x22] = E(Operation.MovToControl, RegRm, ModRm | RegisterAlways | Force64);
        map[0x23] = E(Operation.MovToDebug, RegRm, ModRm | RegisterAlways | Force64);
        map[0x30] = E(Operation.Wrmsr);
        map[0x31] = E(Operation.Rdtsc);
        map[0x32] = E(Operation.Rdmsr);
        map[0x33] = E(Operation.Rdpmc);
        map[0x34] = E(Operation.Sysenter);
        map[0x35] = E(Operation.Sysexit);
        for (var i = 0; i < 16; i++)
        {
            map[0x40 + i] = E(Operation.Cmovcc, RegRm, ModRm);
            map[0x80 + i] = E(Operation.Jcc, OperandForm.Immediate, Force64, RelativeZ);
            map[0x90 + i] = E(Operation.Setcc, Rm, ModRm | OpcodeTraits.Byte);
        }

        map[0xA0] = E(Operation.PushSegment, traits: Default64);
        map[0xA1] = E(Operation.PopSegment, traits: Default64);
        map[0xA2] = E(Operation.Cpuid);
        map[0xA3] = E(Operation.Bt, RmReg, ModRm);
        map[0xA4] = E(Operation.Shld, RmRegImmediate, ModRm, ImmediateKind.Byte);
        map[0xA5] = E(Operation.Shld, RmRegCl, ModRm);
        map[0xA8] = E(Operation.PushSegment, traits: Default64);
        map[0xA9] = E(Operation.PopSegment, traits: Default64);
        map[0xAA] = E(Operation.Rsm);
        map[0xAB] = E(Operation.Bts, RmReg, ModRm | Lockable);
        map[0xAC] = E(Operation.Shrd, RmRegImmediate, ModRm, ImmediateKind.Byte);
        map[0xAD] = E(Operation.Shrd, RmRegCl, ModRm);
        map[0xAE] = E(Operation.Invalid, Rm, ModRm, group: Group.State);
        map[0xAF] = E(Operation.Imul, RegRm, ModRm);
        map[0xB0] = E(Operation.Cmpxchg, RmReg, ModRm | OpcodeTraits.Byte | Lockable);
        map[0xB1] = E(Operation.Cmpxchg, RmReg, ModRm | Lockable);
        map[0xB2] = E(Operation.LoadFarPointer, RegRm, ModRm | MemoryOnly);
        map[0xB3] = E(Operation.Btr, RmReg, ModRm | Lockable);
        map[0xB4] = E(Operation.LoadFarPointer, RegRm, ModRm | MemoryOnly);
        map[0xB5] = E(Operation.LoadFarPointer, RegRm, ModRm | MemoryOnly);
        map[0xB6] = E(Operation.Movzx, RegRm, ModRm | ByteSource);
        map[0xB7] = E(Operation.Movzx, RegRm, ModRm | WordSource);
        map[0xB8] = E(Operation.Invalid, RegRm, ModRm, group: Group.Popcnt);
        map[0xB9] = E(Operation.Invalid, RegRm, ModRm);
        map[0xBA] = E(Operation.Invalid, RmImmediate, ModRm, ImmediateKind.Byte, Group.BitTest);
        map[0xBB] = E(Operation.Btc, RmReg, ModRm | Lockable);
        map[0xBC] = E(Operation.Bsf, RegRm, ModRm, group: Group.BitScan);
        map[0xBD] = E(Operation.Bsr, RegRm, ModRm, group: Group.BitScan);
        map[0xBE] = E(Operation.Movsx, RegRm, ModRm | ByteSource);
        map[0xBF] = E(Operation.Movsx, RegRm, ModRm | WordSource);
        map[0xC0] = E(Operation.Xadd, RmReg, ModRm | OpcodeTraits.Byte | Lockable);
        map[0xC1] = E(Operation.Xadd, RmReg, ModRm | Lockable);
        map[0xC3] = E(Operation.Mov, RmReg, ModRm | MemoryOnly);
        map[0xC7] = E(Operation.Invalid, Rm, ModRm, group: Group.CompareExchangeWide);
        for (var i = 0; i < 8; i++)
        {
            map[0xC8 + i] = E(Operation.Bswap, Rm, OpcodeRegister);
        }

        AddVector(map);
        map[0xFF] = E(Operation.Invalid, RegRm, ModRm);
        return map;
    }

    private static void AddVector(OpcodeEntry[] map)
    {
        foreach (var (first, last) in ((int, int)[])[(0x10, 0x17), (0x28, 0x2F), (0x50, 0x76), (0x7C, 0x7F), (0xD0, 0xFE)])
        {
            for (var i = first; i <= last; i++)
            {
                map[i] = E(Operation.Vector, RegRm, ModRm);
            }
        }

        for (var i = 0x70; i <= 0x73; i++)
        {
            map[i] = E(Operation.Vector, RegRm, ModRm, ImmediateKind.Byte);
        }

        map[0x77] = E(Operation.Vector);
        map[0xC2] = E(Operation.Vector, RegRm, ModRm, ImmediateKind.Byte);
        map[0xC4] = E(Operation.Vector, RegRm, ModRm, ImmediateKind.Byte);
        map[0xC5] = E(Operation.Vector, RegRm, ModRm, ImmediateKind.Byte);
        map[0xC6] = E(Operation.Vector, RegRm, ModRm, ImmediateKind.Byte);
    }
}
