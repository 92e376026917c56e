using Iced.Intel;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>What the architecture leaves undefined, where processors may differ.</summary>
internal static unsafe class Undefined
{
    private const ulong Carry = 1;
    private const ulong Overflow = 0x800;

    /// <summary>RFLAGS bits that must agree after an instruction.</summary>
    internal static ulong DefinedFlags(in Instruction instruction, DecodedInstruction* decoded, RegisterFile* input)
    {
        var undefined = instruction.RflagsUndefined;
        ulong mask = 0xCD5;
        Drop(ref mask, undefined, RflagsBits.CF, 0x1);
        Drop(ref mask, undefined, RflagsBits.PF, 0x4);
        Drop(ref mask, undefined, RflagsBits.AF, 0x10);
        Drop(ref mask, undefined, RflagsBits.ZF, 0x40);
        Drop(ref mask, undefined, RflagsBits.SF, 0x80);
        Drop(ref mask, undefined, RflagsBits.OF, 0x800);
        if (decoded->Operation is Operation.Shl or Operation.Sal or Operation.Shr && decoded->OperandSize < 4
            && Count(decoded, input) >= decoded->OperandSize * 8)
        {
            mask &= ~Carry;
        }

        // The disassembler takes a rotation by a multiple of the operand's bits and CF for none at all.
        if (decoded->Operation is Operation.Rcl or Operation.Rcr && Count(decoded, input) > 1)
        {
            mask &= ~Overflow;
        }

        return mask;
    }

    /// <summary>Whether the result itself is undefined: a double shift of a word by more than its bits.</summary>
    internal static bool HasUndefinedResult(DecodedInstruction* decoded, RegisterFile* input) =>
        decoded->Operation is Operation.Shld or Operation.Shrd && decoded->OperandSize == 2 && Count(decoded, input) > 16;

    private static int Count(DecodedInstruction* decoded, RegisterFile* input)
    {
        var byRegister = decoded->Form is OperandForm.RmCl or OperandForm.RmRegCl;
        return (int)((byRegister ? input->Gpr[1] : decoded->Immediate) & 31);
    }

    private static void Drop(ref ulong mask, RflagsBits undefined, RflagsBits flag, ulong bit)
    {
        if ((undefined & flag) != 0)
        {
            mask &= ~bit;
        }
    }
}
