using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>Hardware task switches (Intel SDM volume 3, chapter 7); outside long mode only.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private enum TaskSwitchKind
    {
        Jump,
        Call,
        Return,
        Event,
    }

    private bool TryReturnFromTask()
    {
        if (!TryReadTss(0, 2, 0, out var link))
        {
            return false;
        }

        return TrySwitchTask((ushort)link, TaskSwitchKind.Return, NextRip, (uint)LazyFlags.GetRflags(State), 0);
    }

    private bool TryDeliverToTask(ushort selector, bool hasErrorCode, uint errorCode, ulong returnRip, uint flags, uint external)
    {
        if (!TrySwitchTask(selector, TaskSwitchKind.Event, returnRip, flags, external))
        {
            return false;
        }

        if (hasErrorCode)
        {
            return TryPush(errorCode, (State->Tr.Attributes & 8) != 0 ? 4 : 2);
        }

        return true;
    }

    private bool TrySwitchTask(ushort selector, TaskSwitchKind kind, ulong returnRip, uint flags, uint external)
    {
        var vector = kind == TaskSwitchKind.Return ? Fault.InvalidTss : Fault.GeneralProtection;
        var error = ((uint)selector & 0xFFFC) | external;
        if ((selector & 4) != 0 || error == external)
        {
            return Fault.Raise(State, vector, error);
        }

        if (!TryReadDescriptor(selector, vector, external, out var descriptor))
        {
            return false;
        }

        var wanted = kind == TaskSwitchKind.Return ? 2u : 0;
        if (!descriptor.IsSystem || (descriptor.Type & 5) != 1 || (descriptor.Type & 2) != wanted)
        {
            return Fault.Raise(State, vector, error);
        }

        if (!descriptor.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        var is32 = (descriptor.Type & 8) != 0;
        if (descriptor.Limit < (is32 ? 103u : 43))
        {
            return Fault.Raise(State, Fault.InvalidTss, error);
        }

        if (!TrySaveTask(kind == TaskSwitchKind.Return ? flags & ~RFlags.Nt : flags, returnRip)
            || !TryReadTask(descriptor.Base, is32, out var task))
        {
            return false;
        }

        if (kind is TaskSwitchKind.Jump or TaskSwitchKind.Return && !TrySetBusy(State->Tr.Selector, isBusy: false))
        {
            return false;
        }

        if (kind is TaskSwitchKind.Call or TaskSwitchKind.Event)
        {
            if (!Mmu.TryStoreSystem((uint)descriptor.Base, 2, State->Tr.Selector))
            {
                return false;
            }

            task.Flags |= RFlags.Nt;
        }

        if (kind != TaskSwitchKind.Return && !TrySetBusy(selector, isBusy: true))
        {
            return false;
        }

        State->Tr = new SegmentCache
        {
            Base = descriptor.Base,
            Limit = descriptor.Limit,
            Attributes = descriptor.Attributes | 2,
            Selector = selector,
        };
        return TryEnterTask(ref task, is32);
    }

    private bool TrySetBusy(uint selector, bool isBusy)
    {
        if (!TryReadDescriptor(selector & 0xFFFC, Fault.InvalidTss, 0, out var descriptor))
        {
            return false;
        }

        var rights = (byte)(descriptor.Raw >> 40);
        return Mmu.TryStoreSystem(descriptor.Address + 5, 1, (byte)(isBusy ? rights | 2 : rights & ~2));
    }

    private struct TaskImage
    {
        public ulong Cr3;
        public uint Eip;
        public uint Flags;
        public fixed uint Gpr[8];
        public fixed ushort Selectors[6];
        public ushort Ldt;
        public bool Traps;
    }

    private bool TrySaveTask(uint flags, ulong rip)
    {
        var tss = (uint)State->Tr.Base;
        var is32 = (State->Tr.Attributes & 8) != 0;
        var size = is32 ? 4u : 2;
        var at = tss + (is32 ? 0x20u : 0x0E);
        if (!Mmu.TryStoreSystem(at, (int)size, rip) || !Mmu.TryStoreSystem(at + size, (int)size, flags))
        {
            return false;
        }

        at += size * 2;
        for (var i = 0; i < 8; i++, at += size)
        {
            if (!Mmu.TryStoreSystem(at, (int)size, State->Gpr[i]))
            {
                return false;
            }
        }

        for (var i = 0; i < (is32 ? 6 : 4); i++, at += size)
        {
            if (!Mmu.TryStoreSystem(at, 2, Segment(i)->Selector))
            {
                return false;
            }
        }

        return true;
    }

    private bool TryReadTask(ulong tss, bool is32, out TaskImage task)
    {
        task = default;
        var size = is32 ? 4u : 2;
        if (is32 && !Mmu.TryLoadSystem((uint)tss + 0x1C, 4, out task.Cr3))
        {
            return false;
        }

        var at = (uint)tss + (is32 ? 0x20u : 0x0E);
        if (!Mmu.TryLoadSystem(at, (int)size, out var eip) || !Mmu.TryLoadSystem(at + size, (int)size, out var flags))
        {
            return false;
        }

        task.Eip = (uint)eip;
        task.Flags = (uint)flags;
        at += size * 2;
        for (var i = 0; i < 8; i++, at += size)
        {
            if (!Mmu.TryLoadSystem(at, (int)size, out var value))
            {
                return false;
            }

            task.Gpr[i] = (uint)value;
        }

        for (var i = 0; i < (is32 ? 6 : 4); i++, at += size)
        {
            if (!Mmu.TryLoadSystem(at, 2, out var value))
            {
                return false;
            }

            task.Selectors[i] = (ushort)value;
        }

        if (!Mmu.TryLoadSystem(at, 2, out var ldt))
        {
            return false;
        }

        task.Ldt = (ushort)ldt;
        if (is32)
        {
            if (!Mmu.TryLoadSystem((uint)tss + 0x64, 2, out var trap))
            {
                return false;
            }

            task.Traps = (trap & 1) != 0;
        }

        return true;
    }

    /// <summary>Loads the new task's context. Faults from here on belong to the new task.</summary>
    private bool TryEnterTask(ref TaskImage task, bool is32)
    {
        if (is32 && (State->Cr0 & ControlBits.Cr0Paging) != 0 && !TryWriteCr3(task.Cr3))
        {
            return false;
        }

        State->Cr0 |= ControlBits.Cr0TaskSwitched;
        State->Rip = task.Eip;
        for (var i = 0; i < 8; i++)
        {
            State->Gpr[i] = is32 ? task.Gpr[i] : (State->Gpr[i] & ~0xFFFFUL) | task.Gpr[i];
        }

        LazyFlags.SetRflags(State, (task.Flags & RFlags.Defined) | RFlags.Fixed);
        RestoreDeferredRequests();
        for (var i = 0; i < 6; i++)
        {
            *Segment(i) = NullSegment(task.Selectors[i]);
        }

        if (IsVirtual8086)
        {
            State->Cpl = 3;
            for (var i = 0; i < 6; i++)
            {
                LoadRealSegment(i, task.Selectors[i]);
            }

            UpdateMode();
            return true;
        }

        if (!TryLoadLdt(task.Ldt, Fault.InvalidTss))
        {
            return false;
        }

        var cs = task.Selectors[Cs];
        var error = (uint)cs & 0xFFFC;
        if (error == 0 || !TryReadDescriptor(cs, Fault.InvalidTss, 0, out var code))
        {
            return Fault.Raise(State, Fault.InvalidTss, error);
        }

        if (!code.IsCode || (code.IsConforming ? code.Dpl > (cs & 3u) : code.Dpl != (cs & 3u)))
        {
            return Fault.Raise(State, Fault.InvalidTss, error);
        }

        if (!code.IsPresent)
        {
            return Fault.Raise(State, Fault.SegmentNotPresent, error);
        }

        State->Cs = code.ToCache(cs);
        State->Cpl = cs & 3u;
        if (!TryLoadTaskSegment(Ss, task.Selectors[Ss]) || !TryLoadTaskSegment(Ds, task.Selectors[Ds])
            || !TryLoadTaskSegment(Es, task.Selectors[Es]) || !TryLoadTaskSegment(Fs, task.Selectors[Fs])
            || !TryLoadTaskSegment(Gs, task.Selectors[Gs]))
        {
            UpdateMode();
            return false;
        }

        State->Dr[7] &= ~0x155UL;
        UpdateDebugWatch();
        UpdateMode();
        if (task.Eip > State->Cs.Limit)
        {
            return Fault.Protection(State);
        }

        if (task.Traps)
        {
            State->Dr[6] |= Dr6TaskSwitch;
            return Fault.Raise(State, Fault.Debug);
        }

        return true;
    }

    /// <summary>As a plain load, but what is #GP there is #TS here.</summary>
    private bool TryLoadTaskSegment(int number, ushort selector)
    {
        if (TryReadSegment(number, selector, State->Cpl, out var cache))
        {
            *Segment(number) = cache;
            return true;
        }

        if (State->FaultVector == Fault.GeneralProtection)
        {
            State->FaultVector = Fault.InvalidTss;
        }

        return false;
    }
}
