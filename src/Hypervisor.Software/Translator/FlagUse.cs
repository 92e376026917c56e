using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Which arithmetic flags instructions read and which they certainly replace.</summary>
internal static unsafe class FlagUse
{
    private const uint Carry = LazyFlags.Carry;
    private const uint All = LazyFlags.All;
    private const uint LowByte = All & 0xFF;

    /// <summary>Flags a condition reads, by its number in opcodes.</summary>
    public static uint OfCondition(int condition) => (condition >> 1) switch
    {
        0 => LazyFlags.Overflow,
        1 => Carry,
        2 => LazyFlags.Zero,
        3 => Carry | LazyFlags.Zero,
        4 => LazyFlags.Sign,
        5 => LazyFlags.Parity,
        6 => LazyFlags.Sign | LazyFlags.Overflow,
        _ => LazyFlags.Sign | LazyFlags.Overflow | LazyFlags.Zero,
    };

    // A bit for each of the operations that most code is made of: a look at these takes less than a jump by the operation, which hosts seldom predict.
    private const ulong Replacing = (1UL << (int)Operation.Add) | (1UL << (int)Operation.Or) | (1UL << (int)Operation.And) | (1UL << (int)Operation.Sub)
        | (1UL << (int)Operation.Xor) | (1UL << (int)Operation.Cmp) | (1UL << (int)Operation.Test);

    private const ulong Neutral = (1UL << (int)Operation.Mov) | (1UL << (int)Operation.Movzx) | (1UL << (int)Operation.Movsx)
        | (1UL << (int)Operation.Lea) | (1UL << (int)Operation.Push) | (1UL << (int)Operation.Pop);

    /// <summary>Flags read before anything is written, and flags replaced whatever the operands are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Read(DecodedInstruction* i, out uint replaced)
    {
        var bit = i->Operation <= Operation.Pop ? 1UL << (int)i->Operation : 0;
        if ((bit & (Replacing | Neutral)) == 0)
        {
            return ReadOther(i, out replaced);
        }

        replaced = (bit & Replacing) != 0 ? All : 0;
        return 0;
    }

    private static uint ReadOther(DecodedInstruction* i, out uint replaced)
    {
        replaced = 0;
        switch (i->Operation)
        {
            case Operation.Add or Operation.Sub or Operation.Cmp or Operation.Neg or Operation.Or or Operation.And or Operation.Xor
                or Operation.Test or Operation.Imul or Operation.ImulWide or Operation.Mul or Operation.Xadd or Operation.Cmpxchg
                or Operation.Popcnt:
                replaced = All;
                return 0;
            case Operation.Adc or Operation.Sbb:
                replaced = All;
                return Carry;
            case Operation.Inc or Operation.Dec:
                replaced = All & ~Carry;
                return 0;
            case Operation.Shl or Operation.Shr or Operation.Sal or Operation.Sar:
                replaced = IsShifted(i) ? All : 0;
                return 0;
            case Operation.Rol or Operation.Ror:
                replaced = IsShifted(i) ? Carry : 0;
                return 0;
            case Operation.Rcl or Operation.Rcr:
                return Carry;
            case Operation.Shld or Operation.Shrd:
                replaced = i->Form == OperandForm.RmRegImmediate && IsCountSet(i) ? All : 0;
                return 0;
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc:
                replaced = Carry;
                return 0;

            // Repeated ones without elements leave the flags alone.
            case Operation.Cmps or Operation.Scas:
                replaced = (i->Prefixes & (Prefixes.Rep | Prefixes.Repne)) == 0 ? All : 0;
                return 0;
            case Operation.Setcc or Operation.Cmovcc or Operation.Jcc:
                return OfCondition(i->Opcode & 15);
            case Operation.Clc or Operation.Stc:
                replaced = Carry;
                return 0;
            case Operation.Cmc:
                replaced = Carry;
                return Carry;
            case Operation.Cmpxchg8b or Operation.Cmpxchg16b:
                replaced = LazyFlags.Zero;
                return 0;
            case Operation.Popf or Operation.Sysret or Operation.Iret:
                replaced = All;
                return 0;
            case Operation.Lahf:
                return LowByte;
            case Operation.Sahf:
                replaced = LowByte;
                return 0;
            case Operation.Mov or Operation.Movzx or Operation.Movsx or Operation.Lea or Operation.Push or Operation.Pop or Operation.Not
                or Operation.Xchg or Operation.Bswap or Operation.Cbw or Operation.Cwd or Operation.Nop or Operation.Pause or Operation.Fence
                or Operation.Jmp or Operation.Jrcxz or Operation.Loop or Operation.JmpIndirect or Operation.Call or Operation.CallIndirect or Operation.Ret or Operation.Leave
                or Operation.Bsf or Operation.Bsr or Operation.Tzcnt or Operation.Lzcnt:
                return 0;
            case Operation.Andn or Operation.Bextr or Operation.Blsr or Operation.Blsmsk or Operation.Blsi or Operation.Bzhi:
                replaced = All;
                return 0;
            case Operation.Adcx:
                replaced = Carry;
                return Carry;
            case Operation.Adox:
                replaced = LazyFlags.Overflow;
                return LazyFlags.Overflow;
            case Operation.Movbe or Operation.Crc32 or Operation.Mulx or Operation.Pdep or Operation.Pext or Operation.Rorx or Operation.Sarx
                or Operation.Shlx or Operation.Shrx:
                return 0;
            case Operation.X87:
                replaced = X87Form.SetsFlags(i->Opcode, i->ModRm) ? Carry | LazyFlags.Parity | LazyFlags.Zero : 0;
                return X87Form.ReadsFlags(i->Opcode, i->ModRm) ? Carry | LazyFlags.Parity | LazyFlags.Zero : 0;
            case Operation.Fwait:
                return 0;
            case Operation.Vector:
                replaced = VectorForm.SetsFlags(i) ? All : 0;
                return 0;

            // Divisions leave the flags alone here, as in the interpreter.
            case Operation.Div or Operation.Idiv or Operation.Movs or Operation.Stos or Operation.Lods or Operation.Cld or Operation.Std or Operation.Cli
                or Operation.Rdfsbase or Operation.Rdgsbase or Operation.Wrfsbase or Operation.Wrgsbase or Operation.MovFromControl
                or Operation.Rdtsc or Operation.Rdtscp or Operation.Sti or Operation.Stac or Operation.Clac or Operation.Swapgs or Operation.MovFromSegment:
                return 0;
            default:
                return All;
        }
    }

    private static bool IsShifted(DecodedInstruction* i) => i->Form == OperandForm.RmImmediate && IsCountSet(i);

    private static bool IsCountSet(DecodedInstruction* i) => (i->Immediate & (i->OperandSize == 8 ? 63u : 31u)) != 0;
}
