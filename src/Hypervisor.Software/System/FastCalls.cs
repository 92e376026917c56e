using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>SYSCALL, SYSENTER and their returns (Intel SDM volume 2; AMD64 APM volume 3).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private static SegmentCache FlatCode(uint selector, uint dpl, bool isLong) => new()
    {
        Selector = selector,
        Limit = uint.MaxValue,
        Attributes = 0x9B | (dpl << SegmentBits.DplShift) | SegmentBits.Granularity | (isLong ? SegmentBits.Long : SegmentBits.Big),
    };

    private static SegmentCache FlatStack(uint selector, uint dpl) => new()
    {
        Selector = selector,
        Limit = uint.MaxValue,
        Attributes = 0x93 | (dpl << SegmentBits.DplShift) | SegmentBits.Granularity | SegmentBits.Big,
    };

    private bool TrySyscall(ulong next)
    {
        // Intel parts know it in 64-bit code only.
        if ((State->Efer & ControlBits.EferSyscall) == 0 || !IsCode64)
        {
            return Fault.Undefined(State);
        }

        var flags = LazyFlags.GetRflags(State);
        State->Gpr[1] = next;
        State->Gpr[11] = flags & ~(ulong)RFlags.Rf;
        State->Rip = State->Lstar;
        var selector = (uint)(State->Star >> 32) & 0xFFFC;
        State->Cs = FlatCode(selector, 0, isLong: true);
        State->Ss = FlatStack(selector + 8, 0);
        State->Cpl = 0;
        LazyFlags.SetRflags(State, flags & ~(State->SyscallMask | RFlags.Rf));
        UpdateMode();
        StepByNewFlags();
        return true;
    }

    private bool TrySysret(bool isWide)
    {
        if ((State->Efer & ControlBits.EferSyscall) == 0 || !IsCode64)
        {
            return Fault.Undefined(State);
        }

        var target = State->Gpr[1];
        if (State->Cpl != 0 || (isWide && !IsCanonical(target)))
        {
            return Fault.Protection(State);
        }

        var selector = (uint)(State->Star >> 48);
        State->Rip = isWide ? target : (uint)target;
        State->Cs = FlatCode((isWide ? selector + 16 : selector) | 3, 3, isWide);
        State->Ss = FlatStack((selector + 8) | 3, 3);
        State->Cpl = 3;
        var old = State->SystemFlags;
        LazyFlags.SetRflags(State, (State->Gpr[11] & RFlags.Defined & ~(ulong)(RFlags.Rf | RFlags.Vm)) | RFlags.Fixed);
        UpdateMode();
        NoteFlagsLoaded(old);
        StepByNewFlags();
        return true;
    }

    private void NoteFlagsLoaded(uint old)
    {
        if ((State->SystemFlags & ~old & RFlags.If) != 0)
        {
            RestoreDeferredRequests();
        }
    }

    private bool TrySysenter()
    {
        if (!IsProtected || (State->SysenterCs & 0xFFFC) == 0)
        {
            return Fault.Protection(State);
        }

        var isLong = IsLongModeActive;
        State->SystemFlags &= ~(RFlags.Vm | RFlags.If | RFlags.Rf);
        State->Gpr[4] = isLong ? State->SysenterEsp : (uint)State->SysenterEsp;
        State->Rip = isLong ? State->SysenterEip : (uint)State->SysenterEip;
        var selector = (uint)State->SysenterCs & 0xFFFC;
        State->Cs = FlatCode(selector, 0, isLong);
        State->Ss = FlatStack(selector + 8, 0);
        State->Cpl = 0;
        UpdateMode();
        return true;
    }

    private bool TrySysexit(bool isWide)
    {
        if ((State->SysenterCs & 0xFFFC) == 0 || State->Cpl != 0 || !IsProtected
            || (isWide && (!IsCanonical(State->Gpr[1]) || !IsCanonical(State->Gpr[2]))))
        {
            return Fault.Protection(State);
        }

        State->Gpr[4] = isWide ? State->Gpr[1] : (uint)State->Gpr[1];
        State->Rip = isWide ? State->Gpr[2] : (uint)State->Gpr[2];
        var selector = ((uint)State->SysenterCs & 0xFFFC) + (isWide ? 32u : 16u);
        State->Cs = FlatCode(selector | 3, 3, isWide);
        State->Ss = FlatStack((selector + 8) | 3, 3);
        State->Cpl = 3;
        UpdateMode();
        return true;
    }
}
