using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Multiplication and division.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private bool Multiply(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        if (!ReadRm(i, size, out var source))
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Mulx:
                var high = Math.BigMul(size == 8 ? vp->Gpr[2] : (uint)vp->Gpr[2], source, out var low);
                if (size == 4)
                {
                    high = low >> 32;
                }

                WriteRegister(vp, i->Vvvv * 8, size, low);
                WriteRegister(vp, i->Reg * 8, size, high);
                return true;
            case Operation.Imul:
                var right = i->Form == OperandForm.RegRmImmediate ? i->Immediate : SignExtend(ReadRegister(vp, i->RegOffset, size), size);
                WriteRegister(vp, i->RegOffset, size, SignedProduct(vp, size, SignExtend(source, size), right, out _));
                return true;
            case Operation.ImulWide:
                var product = SignedProduct(vp, size, SignExtend(source, size), SignExtend(vp->Gpr[0], size), out var upper);
                WriteWide(vp, size, product, upper);
                return true;
            case Operation.Mul:
                var result = UnsignedProduct(vp, size, source, Truncate(vp->Gpr[0], size), out var carried);
                WriteWide(vp, size, result, carried);
                return true;
            case Operation.Div:
                return Divide(vp, size, source) || Fault.Raise(vp, Fault.DivideError);
            default:
                return DivideSigned(vp, size, SignExtend(source, size)) || Fault.Raise(vp, Fault.DivideError);
        }
    }

    private static void WriteWide(VpState* vp, int size, ulong low, ulong high)
    {
        if (size == 1)
        {
            *(ushort*)vp = (ushort)((byte)low | ((uint)(byte)high << 8));
            return;
        }

        WriteRegister(vp, 0, size, low);
        WriteRegister(vp, 16, size, high);
    }

    private static ulong SignedProduct(VpState* vp, int size, ulong left, ulong right, out ulong high)
    {
        var upper = Math.BigMul((long)left, (long)right, out var low);
        if (size == 8)
        {
            high = (ulong)upper;
            SetMultiplyFlags(vp, (ulong)low, upper != low >> 63);
            return (ulong)low;
        }

        high = (ulong)low >> (size * 8);
        var result = SignExtend((ulong)low, size);
        SetMultiplyFlags(vp, result, result != (ulong)low);
        return result;
    }

    private static ulong UnsignedProduct(VpState* vp, int size, ulong left, ulong right, out ulong high)
    {
        high = Math.BigMul(left, right, out var low);
        if (size < 8)
        {
            high = low >> (size * 8);
        }

        SetMultiplyFlags(vp, SignExtend(low, size), high != 0);
        return low;
    }

    private static bool Divide(VpState* vp, int size, ulong divisor)
    {
        if (divisor == 0)
        {
            return false;
        }

        if (size == 8)
        {
            var high = vp->Gpr[2];
            var low = vp->Gpr[0];
            if (high >= divisor)
            {
                return false;
            }

            if (high == 0)
            {
                (vp->Gpr[0], vp->Gpr[2]) = Math.DivRem(low, divisor);
                return true;
            }

            var (wideQuotient, wideRemainder) = UInt128.DivRem(new UInt128(high, low), divisor);
            vp->Gpr[0] = (ulong)wideQuotient;
            vp->Gpr[2] = (ulong)wideRemainder;
            return true;
        }

        var dividend = Dividend(vp, size);
        var (quotient, remainder) = Math.DivRem(dividend, divisor);
        if (Truncate(quotient, size) != quotient)
        {
            return false;
        }

        WriteWide(vp, size, quotient, remainder);
        return true;
    }

    private static ulong Dividend(VpState* vp, int size) => size switch
    {
        1 => (ushort)vp->Gpr[0],
        2 => (ushort)vp->Gpr[0] | ((ulong)(ushort)vp->Gpr[2] << 16),
        _ => (uint)vp->Gpr[0] | (vp->Gpr[2] << 32),
    };

    private static bool DivideSigned(VpState* vp, int size, ulong divisor)
    {
        if (divisor == 0)
        {
            return false;
        }

        if (size == 8)
        {
            return DivideSignedWide(vp, (long)divisor);
        }

        var dividend = (long)SignExtend(Dividend(vp, size), size == 1 ? 2 : size == 2 ? 4 : 8);
        if (dividend == long.MinValue && divisor == ulong.MaxValue)
        {
            return false;
        }

        var (quotient, remainder) = Math.DivRem(dividend, (long)divisor);
        if ((long)SignExtend((ulong)quotient, size) != quotient)
        {
            return false;
        }

        WriteWide(vp, size, (ulong)quotient, (ulong)remainder);
        return true;
    }

    private static bool DivideSignedWide(VpState* vp, long divisor)
    {
        var high = (long)vp->Gpr[2];
        var low = (long)vp->Gpr[0];
        if (high == low >> 63 && !(low == long.MinValue && divisor == -1))
        {
            var (narrowQuotient, narrowRemainder) = Math.DivRem(low, divisor);
            vp->Gpr[0] = (ulong)narrowQuotient;
            vp->Gpr[2] = (ulong)narrowRemainder;
            return true;
        }

        var dividend = new Int128((ulong)high, (ulong)low);
        if (dividend == Int128.MinValue && divisor == -1)
        {
            return false;
        }

        var (quotient, remainder) = Int128.DivRem(dividend, divisor);
        if (quotient > long.MaxValue || quotient < long.MinValue)
        {
            return false;
        }

        vp->Gpr[0] = (ulong)(long)quotient;
        vp->Gpr[2] = (ulong)(long)remainder;
        return true;
    }
}
