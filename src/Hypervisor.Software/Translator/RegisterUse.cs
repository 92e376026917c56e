using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Which general registers of the guest an instruction writes.</summary>
internal static unsafe class RegisterUse
{
    private const uint Any = uint.MaxValue;
    private const uint Rax = 1;
    private const uint Rcx = 2;
    private const uint Rdx = 4;
    private const uint Rsp = 16;
    private const uint Rbp = 32;

    /// <summary>The registers a translatable instruction may write, a bit each; all bits when that is not known.</summary>
    /// <param name="i">The instruction.</param>
    /// <param name="word">Bytes of an address.</param>
    /// <param name="raised">A register that it raises by a constant and which is not among the others; -1 without one.</param>
    /// <param name="amount">The constant.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Written(DecodedInstruction* i, int word, out int raised, out long amount)
    {
        if (i->Operation is Operation.Mov)
        {
            raised = -1;
            amount = 0;
            return i->Form == OperandForm.RegRm ? OfReg(i) : OfRm(i);
        }

        return WrittenByOther(i, word, out raised, out amount);
    }

    private static uint WrittenByOther(DecodedInstruction* i, int word, out int raised, out long amount)
    {
        raised = -1;
        amount = 0;
        switch (i->Operation)
        {
            case Operation.Add or Operation.Sub when IsConstant(i, word) && i->Form == OperandForm.RmImmediate:
                raised = i->Rm;
                amount = i->Operation == Operation.Add ? (int)i->Immediate : -(long)(int)i->Immediate;
                return 0;
            case Operation.Inc or Operation.Dec when IsConstant(i, word):
                raised = i->Rm;
                amount = i->Operation == Operation.Inc ? 1 : -1;
                return 0;
            case Operation.Lea when i->Base == i->Reg && i->Index == DecodedInstruction.NoRegister && i->OperandSize == word && i->AddressSize == word:
                raised = i->Reg;
                amount = i->Displacement;
                return 0;
            case Operation.Push:
                raised = 4;
                amount = -word;
                return 0;
            case Operation.Pop:
                if (i->Rm == 4)
                {
                    return Rsp;
                }

                raised = 4;
                amount = word;
                return 1u << i->Rm;
            case Operation.Nop or Operation.Fence or Operation.Clc or Operation.Stc or Operation.Cmc or Operation.Sahf or Operation.Cmp
                or Operation.Test or Operation.Bt or Operation.Jcc or Operation.Jmp or Operation.JmpIndirect:
                return 0;
            case Operation.Cbw or Operation.Cwd or Operation.Lahf or Operation.Div or Operation.Idiv or Operation.Mul or Operation.ImulWide
                or Operation.Cmpxchg8b or Operation.Cmpxchg16b:
                return Rax | Rdx;
            case Operation.Call or Operation.CallIndirect or Operation.Ret:
                return Rsp;
            case Operation.Leave:
                return Rsp | Rbp;
            case Operation.Cmpxchg:
                return Rax | OfRm(i);
            case Operation.Xchg or Operation.Xadd:
                return OfReg(i) | OfRm(i);
            case Operation.Bswap:
                return OfRm(i);
            case Operation.Lea or Operation.Movzx or Operation.Movsx or Operation.Imul or Operation.Cmovcc or Operation.Bsf or Operation.Bsr
                or Operation.Popcnt or Operation.Tzcnt or Operation.Lzcnt or Operation.Crc32 or Operation.Adcx or Operation.Adox:
                return OfReg(i);
            case >= Operation.Andn and <= Operation.Shrx:
                return OfReg(i) | (1u << i->Vvvv);
            case Operation.Vector:
                return OfVector(i);
            case Operation.Movbe or Operation.Add or Operation.Or or Operation.Adc or Operation.Sbb or Operation.And
                or Operation.Sub or Operation.Xor or Operation.Inc or Operation.Dec or Operation.Not or Operation.Neg or Operation.Rol
                or Operation.Ror or Operation.Rcl or Operation.Rcr or Operation.Shl or Operation.Sal or Operation.Shr or Operation.Sar
                or Operation.Setcc or Operation.Shld or Operation.Shrd or Operation.Bts or Operation.Btr or Operation.Btc:
                return i->Form == OperandForm.RegRm ? OfReg(i) : OfRm(i);
            default:
                return Any;
        }
    }

    private static bool IsConstant(DecodedInstruction* i, int word) => !i->IsMemory && i->OperandSize == word;

    private static uint OfReg(DecodedInstruction* i) => 1u << (i->RegOffset >> 3);

    private static uint OfRm(DecodedInstruction* i) => i->IsMemory ? 0 : 1u << (i->RmOffset >> 3);

    private static uint OfVector(DecodedInstruction* i)
    {
        if (!VectorForm.TryFind(i, out var form))
        {
            return Any;
        }

        var written = form.Has(ThunkTraits.WritesRcx) ? Rcx : 0;
        if (form.Reg == OperandKind.General)
        {
            written |= 1u << i->Reg;
        }

        return form.Rm == OperandKind.General && !i->IsMemory && form.Has(ThunkTraits.WritesRm) ? written | (1u << i->Rm) : written;
    }
}
