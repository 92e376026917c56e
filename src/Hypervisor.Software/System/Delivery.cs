using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>Delivery of exceptions and interrupts (Intel SDM volume 3, chapter 6; volume 2, INT n).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private enum EventKind
    {
        /// <summary>External interrupt or NMI.</summary>
        External,

        /// <summary>An exception of the processor.</summary>
        Exception,

        /// <summary>INT n, INT3, INTO: subject to the gate's DPL.</summary>
        Software,

        /// <summary>INT1: a software interrupt that skips the DPL test.</summary>
        PrivilegedSoftware,
    }

    /// <summary>
    /// Delivers the exception the state holds: <see cref="InstructionResult.Jump"/>, or
    /// <see cref="InstructionResult.Leave"/> when it ended in a triple fault.
    /// </summary>
    internal InstructionResult DeliverFault()
    {
        var vector = State->FaultVector;
        State->FaultVector = -1;
        Counters.Exceptions.Add(vector, State->FaultErrorCode, State->Rip, State->FaultAddress);
        if (vector == Fault.PageFault)
        {
            State->Cr2 = State->FaultAddress;
        }

        // #DB is delivered as it stands; DR6 was written by whoever found the condition.
        var isTrap = vector is Fault.Breakpoint or Fault.Overflow || (vector == Fault.Debug && !_debugIsFault);
        _debugIsFault = false;
        var flags = (uint)LazyFlags.GetRflags(State);
        if (!isTrap && vector != Fault.Debug)
        {
            flags |= RFlags.Rf;
        }

        return Deliver(vector, EventKind.Exception, State->FaultHasErrorCode != 0, State->FaultErrorCode, State->Rip, flags)
            ? InstructionResult.Jump
            : InstructionResult.Leave;
    }

    private void DeliverInterrupt(byte vector) =>
        Deliver(vector, EventKind.External, false, 0, State->Rip, (uint)LazyFlags.GetRflags(State));

    private void DeliverNmi()
    {
        Counters.Nmis++;
        State->NmiBlocked = 1;
        Deliver(Fault.Nmi, EventKind.External, false, 0, State->Rip, (uint)LazyFlags.GetRflags(State));
    }

    /// <summary>Delivers, turning faults met on the way into double and triple faults. False after a triple fault.</summary>
    private bool Deliver(int vector, EventKind kind, bool hasErrorCode, uint errorCode, ulong returnRip, uint flags)
    {
        while (true)
        {
            if (TryDeliver(vector, kind, hasErrorCode, errorCode, returnRip, flags))
            {
                State->InterruptShadow = 0;
                return true;
            }

            var second = State->FaultVector;
            var secondError = State->FaultErrorCode;
            var secondHasError = State->FaultHasErrorCode != 0;
            State->FaultVector = -1;
            if (kind == EventKind.Exception && vector == Fault.DoubleFault)
            {
                ShutDown($"fault {second} (error 0x{secondError:x}) while delivering a double fault");
                return false;
            }

            if (second == Fault.PageFault)
            {
                State->Cr2 = State->FaultAddress;
            }

            var isDouble = kind == EventKind.Exception
                && ((IsContributory(vector) && IsContributory(second))
                    || (vector == Fault.PageFault && (IsContributory(second) || second == Fault.PageFault)));
            vector = isDouble ? Fault.DoubleFault : second;
            hasErrorCode = isDouble || secondHasError;
            errorCode = isDouble ? 0 : secondError;
            kind = EventKind.Exception;
            flags |= RFlags.Rf;
            Counters.Exceptions.Add(vector, errorCode, State->Rip, State->FaultAddress);
        }
    }

    private static bool IsContributory(int vector) => vector is Fault.DivideError or (>= Fault.InvalidTss and <= Fault.GeneralProtection);

    private void ShutDown(string detail)
    {
        _isShutDown = true;
        _shutdownDetail = $"{detail}; before it {Counters.Exceptions.Describe(4)}; {Describe()}";
    }

    private bool TryDeliver(int vector, EventKind kind, bool hasErrorCode, uint errorCode, ulong returnRip, uint flags)
    {
        if (!IsProtected)
        {
            return TryDeliverReal(vector, returnRip, flags);
        }

        var external = kind is EventKind.External or EventKind.Exception or EventKind.PrivilegedSoftware ? 1u : 0;
        return IsLongModeActive
            ? TryDeliverLong(vector, kind, hasErrorCode, errorCode, returnRip, flags, external)
            : TryDeliverProtected(vector, kind, hasErrorCode, errorCode, returnRip, flags, external);
    }

    private bool TryDeliverLong(
        int vector, EventKind kind, bool hasErrorCode, uint errorCode, ulong returnRip, uint flags, uint external)
    {
        var gateError = ((uint)vector << 3) | 2 | external;
        var offset = (uint)vector * 16;
        if (offset + 15 > State->IdtLimit)
        {
            return Fault.Protection(State, gateError);
        }

        if (!Mmu.TryLoadSystem(State->IdtBase + offset, 8, out var low) || !Mmu.TryLoadSystem(State->IdtBase + offset + 8, 8, out var high))
        {
            return false;
        }

        var gate = new Descriptor { Raw = low };
        if (!gate.IsSystem || gate.Type is not (SegmentBits.TypeInterruptGate or SegmentBits.TypeTrapGate))
        {
            return Fault.Protection(State, gateError);
        }

        if (kind == EventKind.Software && gate.Dpl < State->Cpl)
        {
            return Fault.Protection(State, gateError);
        }

        if (!gate.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, gateError);
        }

        if (!TryReadTargetCode(gate.GateSelector, external, needsLong: true, out var code, out var newCpl))
        {
            return false;
        }

        var target = gate.GateOffset | (high << 32);
        var ist = (uint)(low >> 32) & 7;
        var rsp = State->Gpr[4];
        if (ist != 0)
        {
            if (!TryReadTss(0x24 + ((ist - 1) * 8), 8, external, out rsp))
            {
                return false;
            }
        }
        else if (newCpl != State->Cpl)
        {
            if (!TryReadTss(4 + (newCpl * 8), 8, external, out rsp))
            {
                return false;
            }
        }

        if (!IsCanonical(target))
        {
            return Fault.Protection(State, external);
        }

        rsp &= ~15UL;
        var size = hasErrorCode ? 48 : 40;
        var frame = stackalloc ulong[6];
        var at = 0;
        if (hasErrorCode)
        {
            frame[at++] = errorCode;
        }

        frame[at++] = returnRip;
        frame[at++] = State->Cs.Selector;
        frame[at++] = flags;
        frame[at++] = State->Gpr[4];
        frame[at] = State->Ss.Selector;
        rsp -= (uint)size;
        if (!Mmu.TryStoreBytes(rsp, (byte*)frame, size, newCpl == 3 ? MmuPrivilege.User : MmuPrivilege.Kernel))
        {
            if (State->FaultVector == Fault.GeneralProtection)
            {
                Fault.Stack(State, external);
            }

            return false;
        }

        State->Gpr[4] = rsp;
        if (newCpl != State->Cpl)
        {
            State->Ss = NullSegment(newCpl, newCpl);
        }

        State->Cs = code.ToCache((gate.GateSelector & 0xFFFCu) | newCpl);
        SetCpl(newCpl);
        State->Rip = target;
        EnterHandler(gate.Type == SegmentBits.TypeInterruptGate);
        return true;
    }

    /// <summary>Clears what a handler starts without, and derives the mode anew.</summary>
    private void EnterHandler(bool masksInterrupts)
    {
        var cleared = RFlags.Tf | RFlags.Nt | RFlags.Rf | RFlags.Vm | (masksInterrupts ? RFlags.If : 0);
        State->SystemFlags &= ~cleared;
        UpdateMode();
    }

    /// <summary>The code segment of a gate: checks, and the privilege it runs with.</summary>
    private bool TryReadTargetCode(uint selector, uint external, bool needsLong, out Descriptor code, out uint newCpl)
    {
        newCpl = State->Cpl;
        var error = (selector & 0xFFFC) | external;
        if ((selector & 0xFFFC) == 0)
        {
            code = default;
            return Fault.Protection(State, external);
        }

        if (!TryReadDescriptor(selector, Fault.GeneralProtection, external, out code))
        {
            return false;
        }

        if (!code.IsCode || code.Dpl > State->Cpl)
        {
            return Fault.Protection(State, error);
        }

        if (!code.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        if (needsLong && (code.Attributes & (SegmentBits.Long | SegmentBits.Big)) != SegmentBits.Long)
        {
            return Fault.Protection(State, error);
        }

        if (!code.IsConforming)
        {
            newCpl = code.Dpl;
        }

        return TryMarkAccessed(ref code);
    }

    private bool TryDeliverReal(int vector, ulong returnRip, uint flags)
    {
        var offset = (uint)vector * 4;
        if (offset + 3 > State->IdtLimit)
        {
            return Fault.Protection(State);
        }

        if (!Mmu.TryLoadSystem(State->IdtBase + offset, 4, out var entry))
        {
            return false;
        }

        var frame = stackalloc ushort[3];
        frame[0] = (ushort)returnRip;
        frame[1] = (ushort)State->Cs.Selector;
        frame[2] = (ushort)flags;
        var mask = (State->Ss.Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFu;
        var sp = (uint)State->Gpr[4];
        for (var i = 2; i >= 0; i--)
        {
            sp = (sp & ~mask) | ((sp - 2) & mask);
            if (!TryLinear(Ss, sp & mask, 2, true, out var linear) || !Mmu.TryStoreSystem(linear, 2, frame[i]))
            {
                return false;
            }
        }

        WriteStackPointer(sp, mask);
        State->Rip = (ushort)entry;
        State->Cs.Selector = (uint)(entry >> 16);
        State->Cs.Base = (entry >> 16) << 4;
        State->SystemFlags &= ~(RFlags.If | RFlags.Tf | RFlags.Rf | RFlags.Ac);
        UpdateMode();
        return true;
    }

    private void WriteStackPointer(ulong value, ulong mask) =>
        State->Gpr[4] = mask == ulong.MaxValue ? value : mask == uint.MaxValue ? (uint)value : (State->Gpr[4] & ~mask) | (value & mask);

    private bool TryDeliverProtected(
        int vector, EventKind kind, bool hasErrorCode, uint errorCode, ulong returnRip, uint flags, uint external)
    {
        var gateError = ((uint)vector << 3) | 2 | external;
        var offset = (uint)vector * 8;
        if (offset + 7 > State->IdtLimit)
        {
            return Fault.Protection(State, gateError);
        }

        if (!Mmu.TryLoadSystem((uint)(State->IdtBase + offset), 8, out var raw))
        {
            return false;
        }

        var gate = new Descriptor { Raw = raw };
        if (!gate.IsSystem || gate.Type is not (SegmentBits.TypeTaskGate or SegmentBits.TypeInterruptGate16 or SegmentBits.TypeTrapGate16
            or SegmentBits.TypeInterruptGate or SegmentBits.TypeTrapGate))
        {
            return Fault.Protection(State, gateError);
        }

        if (kind == EventKind.Software && gate.Dpl < State->Cpl)
        {
            return Fault.Protection(State, gateError);
        }

        if (!gate.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, gateError);
        }

        if (gate.Type == SegmentBits.TypeTaskGate)
        {
            return TryDeliverToTask(gate.GateSelector, hasErrorCode, errorCode, returnRip, flags, external);
        }

        if (!TryReadTargetCode(gate.GateSelector, external, needsLong: false, out var code, out var newCpl))
        {
            return false;
        }

        var is32 = gate.Type >= SegmentBits.TypeInterruptGate;
        var target = is32 ? gate.GateOffset : gate.GateOffset & 0xFFFF;
        var fromVirtual8086 = (flags & RFlags.Vm) != 0;
        if (fromVirtual8086 && newCpl != 0)
        {
            return Fault.Protection(State, (gate.GateSelector & 0xFFFCu) | external);
        }

        if (target > code.Limit)
        {
            return Fault.Protection(State, external);
        }

        var stack = State->Ss;
        var esp = (uint)State->Gpr[4];
        if (newCpl != State->Cpl && !TryReadInnerStack(newCpl, external, out stack, out esp))
        {
            return false;
        }

        // Built from the top of the stack down.
        var items = stackalloc uint[10];
        var count = 0;
        if (fromVirtual8086)
        {
            items[count++] = State->Gs.Selector;
            items[count++] = State->Fs.Selector;
            items[count++] = State->Ds.Selector;
            items[count++] = State->Es.Selector;
        }

        if (newCpl != State->Cpl)
        {
            items[count++] = State->Ss.Selector;
            items[count++] = (uint)State->Gpr[4];
        }

        items[count++] = flags;
        items[count++] = State->Cs.Selector;
        items[count++] = (uint)returnRip;
        if (hasErrorCode)
        {
            items[count++] = errorCode;
        }

        var mask = (stack.Attributes & SegmentBits.Big) != 0 ? uint.MaxValue : 0xFFFFu;
        if (!TryPushItems(stack, ref esp, mask, items, count, is32, newCpl, external))
        {
            return false;
        }

        if (newCpl != State->Cpl)
        {
            State->Ss = stack;
            State->Gpr[4] = esp;
        }
        else
        {
            WriteStackPointer(esp, mask);
        }

        if (fromVirtual8086)
        {
            State->Es = NullSegment(0);
            State->Ds = NullSegment(0);
            State->Fs = NullSegment(0);
            State->Gs = NullSegment(0);
        }

        State->Cs = code.ToCache((gate.GateSelector & 0xFFFCu) | newCpl);
        SetCpl(newCpl);
        State->Rip = target;
        EnterHandler(gate.Type is SegmentBits.TypeInterruptGate or SegmentBits.TypeInterruptGate16);
        return true;
    }

    /// <summary>Pushes on a stack that is not yet the current one; #SS names it when it is a new one.</summary>
    private bool TryPushItems(
        SegmentCache stack, ref uint esp, uint mask, uint* items, int count, bool is32, uint cpl, uint external)
    {
        var size = is32 ? 4u : 2;
        var privilege = cpl == 3 ? MmuPrivilege.User : MmuPrivilege.Kernel;
        for (var i = 0; i < count; i++)
        {
            esp = (esp & ~mask) | ((esp - size) & mask);
            var offset = esp & mask;
            if (!IsInLimit(&stack, offset, (ulong)offset + size - 1))
            {
                return Fault.Stack(State, (cpl != State->Cpl ? stack.Selector & 0xFFFC : 0) | external);
            }

            if (!Mmu.TryStore((uint)(stack.Base + offset), (int)size, items[i], privilege))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The stack of an inner privilege level from a 16- or 32-bit TSS, checked.</summary>
    private bool TryReadInnerStack(uint cpl, uint external, out SegmentCache stack, out uint esp)
    {
        stack = default;
        esp = 0;
        var is32 = (State->Tr.Attributes & 8) != 0;
        var offset = is32 ? (cpl * 8) + 4 : (cpl * 4) + 2;
        if (!TryReadTss(offset, is32 ? 4 : 2, external, out var pointer)
            || !TryReadTss(offset + (is32 ? 4u : 2), 2, external, out var selector))
        {
            return false;
        }

        var error = ((uint)selector & 0xFFFC) | external;
        if ((selector & 0xFFFC) == 0)
        {
            return Fault.Raise(State, Fault.InvalidTss, external);
        }

        if (!TryReadDescriptor((uint)selector, Fault.InvalidTss, external, out var descriptor))
        {
            return false;
        }

        if ((selector & 3) != cpl || descriptor.Dpl != cpl || !descriptor.IsWritableData)
        {
            return Fault.Raise(State, Fault.InvalidTss, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Stack(State, error);
        }

        if (!TryMarkAccessed(ref descriptor))
        {
            return false;
        }

        stack = descriptor.ToCache((uint)selector);
        esp = (uint)pointer;
        return true;
    }
}
