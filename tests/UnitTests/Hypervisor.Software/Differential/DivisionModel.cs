using System.Numerics;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>Tells beforehand whether a division raises #DE, since the host must not be made to.</summary>
internal static unsafe class DivisionModel
{
    internal static bool Faults(DecodedInstruction* decoded, RegisterFile* input, ulong operand)
    {
        if (decoded->Operation is not (Operation.Div or Operation.Idiv))
        {
            return false;
        }

        var bits = decoded->OperandSize * 8;
        var isSigned = decoded->Operation == Operation.Idiv;
        var divisor = Extend(operand, bits, isSigned);
        if (divisor.IsZero)
        {
            return true;
        }

        BigInteger dividend;
        if (bits == 8)
        {
            dividend = Extend(input->Gpr[0], 16, isSigned);
        }
        else
        {
            var mask = bits == 64 ? ulong.MaxValue : (1UL << bits) - 1;
            dividend = (Extend(input->Gpr[2], bits, isSigned) << bits) + (input->Gpr[0] & mask);
        }

        var quotient = BigInteger.Divide(dividend, divisor);
        var limit = BigInteger.One << (isSigned ? bits - 1 : bits);
        return quotient >= limit || (isSigned ? quotient < -limit : quotient.Sign < 0);
    }

    private static BigInteger Extend(ulong value, int bits, bool isSigned)
    {
        var shift = 64 - bits;
        return isSigned ? (long)(value << shift) >> shift : value << shift >> shift;
    }
}
