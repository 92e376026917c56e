using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Shifts and rotates.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private bool Shift(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        var count = (int)(i->Form == OperandForm.RmCl ? (byte)vp->Gpr[1] : i->Immediate) & (size == 8 ? 63 : 31);
        if (!i->IsMemory)
        {
            WriteRegister(vp, i->RmOffset, size, ComputeShift(vp, i->Operation, size, ReadRegister(vp, i->RmOffset, size), count));
            return true;
        }

        if (!TryLinear(i, size, isStore: true, out var linear))
        {
            return false;
        }

        var address = BeginModify(i, linear, size, locked: false);
        if (address == null)
        {
            return false;
        }

        HostValue.Write(address, size, ComputeShift(vp, i->Operation, size, HostValue.Read(address, size), count));
        EndModify();
        return true;
    }

    // The count is masked already; zero changes no flag.
    private static ulong ComputeShift(VpState* vp, Operation operation, int size, ulong value, int count)
    {
        if (count == 0)
        {
            return value;
        }

        var bits = size * 8;
        ulong result;
        uint carry;
        switch (operation)
        {
            case Operation.Shl or Operation.Sal:
                result = SignExtend(value << count, size);
                carry = count <= bits ? (uint)(value >> (bits - count)) & 1 : 0;
                if (count == bits)
                {
                    carry = (uint)value & 1;
                }

                SetShiftFlags(vp, result, carry, result);
                return result;
            case Operation.Shr:
                result = value >> count;
                SetRightShiftFlags(vp, SignExtend(result, size), (uint)(value >> (count - 1)) & 1, SignExtend(value, size));
                return result;
            case Operation.Sar:
                value = SignExtend(value, size);
                result = (ulong)((long)value >> count);
                SetArithmeticShiftFlags(vp, result, (uint)((long)value >> (count - 1)) & 1);
                return result;
            case Operation.Rol:
                count &= bits - 1;
                result = count == 0 ? value : Truncate((value << count) | (value >> (bits - count)), size);
                SetRotateFlags(vp, (uint)result & 1, ((uint)result ^ (uint)(result >> (bits - 1))) & 1);
                return result;
            case Operation.Ror:
                count &= bits - 1;
                result = count == 0 ? value : Truncate((value >> count) | (value << (bits - count)), size);
                SetRotateFlags(vp, (uint)(result >> (bits - 1)) & 1, (uint)((result >> (bits - 1)) ^ (result >> (bits - 2))) & 1);
                return result;
            case Operation.Rcl:
                return RotateThroughCarry(vp, size, value, count % (bits + 1), left: true);
            default:
                return RotateThroughCarry(vp, size, value, count % (bits + 1), left: false);
        }
    }

    private static ulong RotateThroughCarry(VpState* vp, int size, ulong value, int count, bool left)
    {
        if (count == 0)
        {
            return value;
        }

        var bits = size * 8;
        var carry = LazyFlags.GetCarry(vp);
        for (var n = 0; n < count; n++)
        {
            if (left)
            {
                var next = (uint)(value >> (bits - 1)) & 1;
                value = Truncate((value << 1) | carry, size);
                carry = next;
            }
            else
            {
                var next = (uint)value & 1;
                value = (value >> 1) | ((ulong)carry << (bits - 1));
                carry = next;
            }
        }

        var sign = (uint)(value >> (bits - 1)) & 1;
        SetRotateFlags(vp, carry, left ? sign ^ carry : sign ^ ((uint)(value >> (bits - 2)) & 1));
        return value;
    }

    private static void SetRotateFlags(VpState* vp, uint carry, uint overflow) =>
        LazyFlags.Set(vp, (LazyFlags.Get(vp) & ~(LazyFlags.Carry | LazyFlags.Overflow)) | carry | (overflow << 11));

    private bool DoubleShift(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        var bits = size * 8;
        var count = (int)(i->Form == OperandForm.RmRegCl ? (byte)vp->Gpr[1] : i->Immediate) & (size == 8 ? 63 : 31);
        var filler = ReadRegister(vp, i->RegOffset, size);
        if (!i->IsMemory)
        {
            WriteRegister(vp, i->RmOffset, size, ComputeDoubleShift(vp, i->Operation, size, bits, ReadRegister(vp, i->RmOffset, size), filler, count));
            return true;
        }

        if (!TryLinear(i, size, isStore: true, out var linear))
        {
            return false;
        }

        var address = BeginModify(i, linear, size, locked: false);
        if (address == null)
        {
            return false;
        }

        HostValue.Write(address, size, ComputeDoubleShift(vp, i->Operation, size, bits, HostValue.Read(address, size), filler, count));
        EndModify();
        return true;
    }

    private static ulong ComputeDoubleShift(VpState* vp, Operation operation, int size, int bits, ulong value, ulong filler, int count)
    {
        if (count == 0)
        {
            return value;
        }

        // A word shifted by more than 16 is undefined; the double-length value repeats then.
        if (count > bits)
        {
            count -= bits;
            (value, filler) = (filler, value);
        }

        ulong result;
        uint carry;
        if (operation == Operation.Shld)
        {
            result = count == bits ? filler : SignExtend((value << count) | (filler >> (bits - count)), size);
            carry = (uint)(value >> (bits - count)) & 1;
        }
        else
        {
            result = count == bits ? filler : SignExtend((value >> count) | (filler << (bits - count)), size);
            carry = (uint)(value >> (count - 1)) & 1;
        }

        var changed = (uint)((SignExtend(result, size) ^ SignExtend(value, size)) >> 63);
        vp->FlagResult = SignExtend(result, size);
        vp->FlagLeft = carry | (changed << 11);
        vp->FlagOperation = LazyFlags.Result;
        return result;
    }
}
