using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Stack instructions and near branches.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    private bool Stack(VpState* vp, DecodedInstruction* i)
    {
        var size = i->OperandSize;
        ulong value;
        switch (i->Operation)
        {
            case Operation.Push:
                if (i->Form == OperandForm.Immediate)
                {
                    return PushValue(size, i->Immediate);
                }

                return ReadRm(i, size, out value) && PushValue(size, value);
            case Operation.Pop:
                return Pop(vp, i, size);
            case Operation.Leave:
                return LeaveFrame(vp, size);
            case Operation.Enter:
                return EnterFrame(vp, i, size);
            case Operation.PushAll:
                return PushAll(vp, size);
            default:
                return PopAll(vp, size);
        }
    }

    private bool Pop(VpState* vp, DecodedInstruction* i, int size)
    {
        var mask = StackMask;
        var pointer = vp->Gpr[4] & mask;
        if (!LoadStack(pointer, size, out var value))
        {
            return false;
        }

        var saved = vp->Gpr[4];
        SetStackPointer(vp, mask, pointer + (ulong)size);

        // An address that names RSP sees it after the pop.
        if (WriteRm(i, size, value))
        {
            return true;
        }

        vp->Gpr[4] = saved;
        return false;
    }

    private bool LeaveFrame(VpState* vp, int size)
    {
        var mask = StackMask;
        var frame = vp->Gpr[5] & mask;
        if (!LoadStack(frame, size, out var value))
        {
            return false;
        }

        SetStackPointer(vp, mask, frame + (ulong)size);
        WriteRegister(vp, 5 * 8, size, value);
        return true;
    }

    private bool EnterFrame(VpState* vp, DecodedInstruction* i, int size)
    {
        var mask = StackMask;
        var level = i->Immediate2 & 31;
        var pointer = (vp->Gpr[4] - (ulong)size) & mask;
        if (!StoreStack(pointer, size, vp->Gpr[5]))
        {
            return false;
        }

        var frame = pointer;
        var source = vp->Gpr[5];
        for (var n = 1; n < level; n++)
        {
            source -= (ulong)size;
            pointer = (pointer - (ulong)size) & mask;
            if (!LoadStack(source & mask, size, out var link) || !StoreStack(pointer, size, link))
            {
                return false;
            }
        }

        if (level > 0)
        {
            pointer = (pointer - (ulong)size) & mask;
            if (!StoreStack(pointer, size, frame))
            {
                return false;
            }
        }

        pointer = (pointer - i->Immediate) & mask;

        // The new top must be writable, although nothing is stored there.
        if (!OperandAddress.TryGetLinear(vp, 2, pointer, size, isStore: true, out var linear) || !Mmu.TryProbeStore(linear, size))
        {
            return false;
        }

        SetStackPointer(vp, mask, pointer);
        WriteRegister(vp, 5 * 8, size, frame);
        return true;
    }

    private bool PushAll(VpState* vp, int size)
    {
        var mask = StackMask;
        var pointer = vp->Gpr[4];
        for (var n = 0; n < 8; n++)
        {
            pointer -= (ulong)size;
            if (!StoreStack(pointer & mask, size, vp->Gpr[n]))
            {
                return false;
            }
        }

        SetStackPointer(vp, mask, pointer);
        return true;
    }

    private bool PopAll(VpState* vp, int size)
    {
        var mask = StackMask;
        var pointer = vp->Gpr[4];
        var values = stackalloc ulong[8];
        for (var n = 7; n >= 0; n--)
        {
            if (!LoadStack(pointer & mask, size, out values[n]))
            {
                return false;
            }

            pointer += (ulong)size;
        }

        for (var n = 0; n < 8; n++)
        {
            if (n != 4)
            {
                WriteRegister(vp, n * 8, size, values[n]);
            }
        }

        SetStackPointer(vp, mask, pointer);
        return true;
    }

    private InstructionResult Branch(VpState* vp, DecodedInstruction* i)
    {
        ulong target;
        switch (i->Operation)
        {
            case Operation.Jmp:
                return JumpTo(vp, i, Target(vp, i));
            case Operation.Jcc:
                return Condition.Test(vp, i->Opcode) ? JumpTo(vp, i, Target(vp, i)) : JumpTo(vp, i, vp->Rip + i->Length);
            case Operation.JmpIndirect:
                return ReadRm(i, i->OperandSize, out target) ? JumpTo(vp, i, target) : InstructionResult.Fault;
            case Operation.Call:
                return CallTo(vp, i, Target(vp, i));
            case Operation.CallIndirect:
                return ReadRm(i, i->OperandSize, out target) ? CallTo(vp, i, target) : InstructionResult.Fault;
            case Operation.Ret:
                return Return(vp, i);
            default:
                return CountedBranch(vp, i);
        }
    }

    private static ulong Target(VpState* vp, DecodedInstruction* i) => vp->Rip - i->Offset + i->Immediate;

    private static bool CheckTarget(VpState* vp, DecodedInstruction* i, ref ulong target)
    {
        if ((vp->Mode & (uint)VpMode.Code64) != 0)
        {
            return (ulong)((long)(target << 16) >> 16) == target || Fault.Protection(vp);
        }

        target = i->OperandSize == 2 ? (ushort)target : (uint)target;
        return target <= vp->Cs.Limit || Fault.Protection(vp);
    }

    private static InstructionResult JumpTo(VpState* vp, DecodedInstruction* i, ulong target)
    {
        if (!CheckTarget(vp, i, ref target))
        {
            return InstructionResult.Fault;
        }

        vp->Rip = target;
        return InstructionResult.Jump;
    }

    private InstructionResult CallTo(VpState* vp, DecodedInstruction* i, ulong target)
    {
        if (!CheckTarget(vp, i, ref target) || !PushValue(i->OperandSize, NextRip(vp, i)))
        {
            return InstructionResult.Fault;
        }

        vp->Rip = target;
        return InstructionResult.Jump;
    }

    private InstructionResult Return(VpState* vp, DecodedInstruction* i)
    {
        var mask = StackMask;
        var pointer = vp->Gpr[4] & mask;
        if (!LoadStack(pointer, i->OperandSize, out var target) || !CheckTarget(vp, i, ref target))
        {
            return InstructionResult.Fault;
        }

        SetStackPointer(vp, mask, pointer + i->OperandSize + i->Immediate);
        vp->Rip = target;
        return InstructionResult.Jump;
    }

    private static InstructionResult CountedBranch(VpState* vp, DecodedInstruction* i)
    {
        var count = vp->Gpr[1] & i->AddressMask;
        bool taken;
        if (i->Operation == Operation.Jrcxz)
        {
            taken = count == 0;
        }
        else
        {
            count = (count - 1) & i->AddressMask;
            taken = count != 0 && (i->Operation == Operation.Loop || Condition.IsEqual(vp) == (i->Operation == Operation.Loope));
        }

        var target = taken ? Target(vp, i) : vp->Rip + i->Length;
        if (!CheckTarget(vp, i, ref target))
        {
            return InstructionResult.Fault;
        }

        if (i->Operation != Operation.Jrcxz)
        {
            WriteRegister(vp, 8, i->AddressSize, count);
        }

        vp->Rip = target;
        return InstructionResult.Jump;
    }
}
