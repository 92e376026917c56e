using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>Far JMP, CALL and RET, through gates too (Intel SDM volume 2; volume 3, section 5.8).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private InstructionResult ExecuteFar(ushort selector, ulong offset, int size, bool isCall, ulong next)
    {
        bool done;
        if (!IsProtected || IsVirtual8086)
        {
            done = TryFarReal(selector, offset, size, isCall, next);
        }
        else
        {
            done = TryFarProtected(selector, offset, size, isCall, next);
        }

        return done ? InstructionResult.Jump : InstructionResult.Fault;
    }

    private bool TryFarReal(ushort selector, ulong offset, int size, bool isCall, ulong next)
    {
        if (offset > State->Cs.Limit)
        {
            return Fault.Protection(State);
        }

        if (isCall && !TryPushPair(State->Cs.Selector, next, size))
        {
            return false;
        }

        State->Cs.Selector = selector;
        State->Cs.Base = (ulong)selector << 4;
        State->Rip = offset;
        UpdateMode();
        return true;
    }

    /// <summary>Pushes two items, or nothing when the second faults.</summary>
    private bool TryPushPair(ulong first, ulong second, int size)
    {
        var rsp = State->Gpr[4];
        if (TryPush(first, size) && TryPush(second, size))
        {
            return true;
        }

        State->Gpr[4] = rsp;
        return false;
    }

    private bool TryFarProtected(ushort selector, ulong offset, int size, bool isCall, ulong next)
    {
        var error = (uint)selector & 0xFFFC;
        if (error == 0)
        {
            return Fault.Protection(State);
        }

        if (!TryReadDescriptor(selector, Fault.GeneralProtection, 0, out var descriptor))
        {
            return false;
        }

        if (descriptor.IsSystem)
        {
            return TryFarSystem(selector, descriptor, isCall, next);
        }

        if (!descriptor.IsCode
            || (descriptor.IsConforming ? descriptor.Dpl > State->Cpl : descriptor.Dpl != State->Cpl || ((uint)selector & 3) > State->Cpl))
        {
            return Fault.Protection(State, error);
        }

        if (IsLongModeActive && (descriptor.Attributes & (SegmentBits.Long | SegmentBits.Big)) == (SegmentBits.Long | SegmentBits.Big))
        {
            return Fault.Protection(State, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        var toLong = IsLongModeActive && (descriptor.Attributes & SegmentBits.Long) != 0;
        if (toLong ? !IsCanonical(offset) : offset > descriptor.Limit)
        {
            return Fault.Protection(State);
        }

        if (!TryMarkAccessed(ref descriptor) || (isCall && !TryPushPair(State->Cs.Selector, next, size)))
        {
            return false;
        }

        State->Cs = descriptor.ToCache(error | State->Cpl);
        State->Rip = toLong ? offset : (uint)offset;
        UpdateMode();
        return true;
    }

    private bool TryFarSystem(ushort selector, Descriptor descriptor, bool isCall, ulong next)
    {
        var error = (uint)selector & 0xFFFC;
        var rpl = (uint)selector & 3;
        var isTask = descriptor.Type is SegmentBits.TypeTaskGate or SegmentBits.TypeTss or SegmentBits.TypeTss16;
        var isGate = descriptor.Type == SegmentBits.TypeCallGate || (descriptor.Type == SegmentBits.TypeCallGate16 && !IsLongModeActive);
        if ((!isGate && (!isTask || IsLongModeActive)) || descriptor.Dpl < State->Cpl || descriptor.Dpl < rpl)
        {
            return Fault.Protection(State, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        if (isGate)
        {
            return TryCallGate(selector, descriptor, isCall, next);
        }

        var task = descriptor.Type == SegmentBits.TypeTaskGate ? descriptor.GateSelector : selector;
        return TrySwitchTask(task, isCall ? TaskSwitchKind.Call : TaskSwitchKind.Jump, next, (uint)LazyFlags.GetRflags(State), 0);
    }

    private bool TryCallGate(ushort gateSelector, Descriptor gate, bool isCall, ulong next)
    {
        ulong target = gate.Type == SegmentBits.TypeCallGate16 ? gate.GateOffset & 0xFFFF : gate.GateOffset;
        if (IsLongModeActive)
        {
            if (!TryReadSystemDescriptor(gateSelector, Fault.GeneralProtection, out _, out var upper))
            {
                return false;
            }

            target |= upper;
        }

        if (!TryReadTargetCode(gate.GateSelector, 0, needsLong: IsLongModeActive, out var code, out var newCpl))
        {
            return false;
        }

        var error = gate.GateSelector & 0xFFFCu;
        if (!isCall && newCpl != State->Cpl)
        {
            return Fault.Protection(State, error);
        }

        if (IsLongModeActive ? !IsCanonical(target) : target > code.Limit)
        {
            return Fault.Protection(State);
        }

        if (isCall)
        {
            var size = IsLongModeActive ? 8 : gate.Type == SegmentBits.TypeCallGate16 ? 2 : 4;
            var pushed = newCpl == State->Cpl
                ? TryPushPair(State->Cs.Selector, next, size)
                : IsLongModeActive ? TryEnterInnerLong(newCpl, next) : TryEnterInner(gate, newCpl, next, size);
            if (!pushed)
            {
                return false;
            }
        }

        State->Cs = code.ToCache(error | newCpl);
        State->Cpl = newCpl;
        State->Rip = target;
        UpdateMode();
        return true;
    }

    private bool TryEnterInnerLong(uint newCpl, ulong next)
    {
        if (!TryReadTss(4 + (newCpl * 8), 8, 0, out var rsp))
        {
            return false;
        }

        var frame = stackalloc ulong[4];
        frame[0] = next;
        frame[1] = State->Cs.Selector;
        frame[2] = State->Gpr[4];
        frame[3] = State->Ss.Selector;
        rsp -= 32;
        if (!Mmu.TryStoreBytes(rsp, (byte*)frame, 32, MmuPrivilege.Kernel))
        {
            Fault.AsStackAccess(State);
            return false;
        }

        State->Ss = NullSegment(newCpl, newCpl);
        State->Gpr[4] = rsp;
        return true;
    }

    private bool TryEnterInner(Descriptor gate, uint newCpl, ulong next, int size)
    {
        if (!TryReadInnerStack(newCpl, 0, out var stack, out var esp))
        {
            return false;
        }

        // Parameters are copied from the outer stack, then the return address follows.
        var parameters = (uint)(gate.Raw >> 32) & 31;
        var items = stackalloc uint[36];
        var count = 0;
        items[count++] = State->Ss.Selector;
        items[count++] = (uint)State->Gpr[4];
        for (var i = parameters; i > 0; i--)
        {
            if (!TryPeek((i - 1) * (uint)size, size, out var parameter))
            {
                return false;
            }

            items[count++] = (uint)parameter;
        }

        items[count++] = State->Cs.Selector;
        items[count++] = (uint)next;
        var mask = (stack.Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFu;
        if (!TryPushItems(stack, ref esp, mask, items, count, size == 4, newCpl, 0))
        {
            return false;
        }

        State->Ss = stack;
        State->Gpr[4] = esp;
        return true;
    }

    private InstructionResult ExecuteRetFar(int size, uint release)
    {
        if (!TryPeek(0, size, out var offset) || !TryPeek((uint)size, size, out var selector))
        {
            return InstructionResult.Fault;
        }

        if (!IsProtected || IsVirtual8086)
        {
            if (offset > State->Cs.Limit)
            {
                Fault.Protection(State);
                return InstructionResult.Fault;
            }

            WriteStackPointer(State->Gpr[4] + ((uint)size * 2) + release, StackMask);
            State->Cs.Selector = (ushort)selector;
            State->Cs.Base = (ulong)(ushort)selector << 4;
            State->Rip = offset;
            UpdateMode();
            return InstructionResult.Jump;
        }

        return TryRetFarProtected((ushort)selector, offset, size, release) ? InstructionResult.Jump : InstructionResult.Fault;
    }

    private bool TryRetFarProtected(ushort selector, ulong offset, int size, uint release)
    {
        if (!TryReadReturnCode(selector, out var code, out var newCpl))
        {
            return false;
        }

        var toLong = IsLongModeActive && (code.Attributes & SegmentBits.Long) != 0;
        if (toLong ? !IsCanonical(offset) : offset > code.Limit)
        {
            return Fault.Protection(State);
        }

        var top = State->Gpr[4] + ((uint)size * 2) + release;
        if (newCpl == State->Cpl)
        {
            WriteStackPointer(top, StackMask);
        }
        else
        {
            if (!TryPeek(((uint)size * 2) + release, size, out var rsp)
                || !TryPeek(((uint)size * 3) + release, size, out var stackSelector)
                || !TryReadReturnStack((ushort)stackSelector, newCpl, toLong, out var stack))
            {
                return false;
            }

            State->Ss = stack;
            WriteStackPointer(rsp + release, toLong ? ulong.MaxValue : (stack.Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFUL);
            State->Cpl = newCpl;
            DropInnerSegments(newCpl);
        }

        State->Cs = code.ToCache(selector);
        State->Rip = toLong ? offset : (uint)offset;
        UpdateMode();
        return true;
    }
}
