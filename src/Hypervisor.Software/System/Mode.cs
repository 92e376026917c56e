using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>What the mode word and the TLB sets are derived from, in one place.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private bool IsProtected => (State->Cr0 & ControlBits.Cr0Protection) != 0;

    private bool IsVirtual8086 => (State->SystemFlags & RFlags.Vm) != 0;

    private bool IsLongModeActive => (State->Efer & ControlBits.EferLongModeActive) != 0;

    private bool IsCode64 => (State->Mode & (uint)VpMode.Code64) != 0;

    private uint Iopl => (State->SystemFlags & RFlags.Iopl) >> RFlags.IoplShift;

    /// <summary>
    /// Recomputes <see cref="VpState.Mode"/> and the TLB sets. To be called after each change of CR0, CR4, EFER, DR7, a
    /// segment register, CPL, or RFLAGS.VM, TF or AC.
    /// </summary>
    internal void UpdateMode()
    {
        var mode = VpMode.None;
        var cr0 = State->Cr0;
        if ((cr0 & ControlBits.Cr0Protection) != 0)
        {
            mode |= VpMode.Protected;
        }

        if ((State->SystemFlags & RFlags.Vm) != 0)
        {
            mode |= VpMode.Virtual8086;
        }

        if ((State->Efer & ControlBits.EferLongModeActive) != 0)
        {
            mode |= VpMode.LongMode;
        }

        if ((mode & VpMode.LongMode) != 0 && (State->Cs.Attributes & SegmentBits.Long) != 0)
        {
            mode |= VpMode.Code64 | VpMode.FlatSegments;
        }
        else
        {
            if ((State->Cs.Attributes & SegmentBits.Big) != 0)
            {
                mode |= VpMode.Code32;
            }

            if ((State->Ss.Attributes & SegmentBits.Big) != 0)
            {
                mode |= VpMode.Stack32;
            }

            if (IsFlatCode(State->Cs) && IsFlatData(State->Ds) && IsFlatData(State->Es) && IsFlatData(State->Ss))
            {
                mode |= VpMode.FlatSegments;
            }
        }

        if ((cr0 & ControlBits.Cr0Paging) != 0)
        {
            mode |= VpMode.Paging;
        }

        if (State->Cpl == 3)
        {
            mode |= VpMode.User;
        }

        if ((State->SystemFlags & RFlags.Tf) != 0 || (State->Dr[7] & 0xFF) != 0)
        {
            mode |= VpMode.Stepping;
        }

        if ((cr0 & (ControlBits.Cr0Emulation | ControlBits.Cr0TaskSwitched)) != 0 || (State->Cr4 & ControlBits.Cr4Osfxsr) == 0)
        {
            mode |= VpMode.FpuTrap;
        }

        if (State->Cpl == 3 && (State->SystemFlags & RFlags.Ac) != 0 && (cr0 & ControlBits.Cr0AlignmentMask) != 0)
        {
            mode |= VpMode.AlignmentChecks;
        }

        State->Mode = (uint)mode;
        Mmu.SelectSets();
    }

    /// <summary>Whether what <see cref="UpdateMode"/> looks at in RFLAGS differs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool ChangesMode(uint difference) => (difference & (RFlags.Vm | RFlags.Tf | RFlags.Ac)) != 0;

    private static bool IsFlatCode(in SegmentCache segment) =>
        segment.Base == 0 && segment.Limit == uint.MaxValue
        && (segment.Attributes & (SegmentBits.Unusable | SegmentBits.Present | SegmentBits.Code | SegmentBits.Readable))
            == (SegmentBits.Present | SegmentBits.Code | SegmentBits.Readable);

    private static bool IsFlatData(in SegmentCache segment) =>
        segment.Base == 0 && segment.Limit == uint.MaxValue
        && (segment.Attributes
            & (SegmentBits.Unusable | SegmentBits.Present | SegmentBits.Code | SegmentBits.ExpandDown | SegmentBits.Writable))
            == (SegmentBits.Present | SegmentBits.Writable);

    /// <summary>Replaces the flags in <paramref name="mask"/>, honouring what unmasked interrupts and mode changes entail.</summary>
    private void SetFlags(ulong value, uint mask)
    {
        var arithmetic = mask & LazyFlags.All;
        if (arithmetic == LazyFlags.All)
        {
            LazyFlags.Set(State, (uint)value);
        }
        else if (arithmetic != 0)
        {
            LazyFlags.Set(State, (LazyFlags.Get(State) & ~arithmetic) | ((uint)value & arithmetic));
        }

        var system = mask & ~LazyFlags.All & RFlags.Defined;
        var old = State->SystemFlags;
        var now = (old & ~system) | ((uint)value & system) | RFlags.Fixed;
        State->SystemFlags = now;
        if (ChangesMode(old ^ now))
        {
            UpdateMode();
        }

        if ((now & ~old & RFlags.If) != 0)
        {
            RestoreDeferredRequests();
        }
    }

    private void SetCpl(uint cpl) => State->Cpl = cpl;
}

/// <summary>Bits of a segment's attributes (see <see cref="Engine.SegmentState"/>).</summary>
internal static class SegmentBits
{
    public const uint Accessed = 1;

    /// <summary>Data: writable. Code: readable.</summary>
    public const uint Writable = 2;
    public const uint Readable = 2;

    /// <summary>Data: expand-down. Code: conforming.</summary>
    public const uint ExpandDown = 4;
    public const uint Conforming = 4;
    public const uint Code = 8;
    public const uint NotSystem = 16;
    public const int DplShift = 5;
    public const uint Present = 128;
    public const uint Available = 1 << 12;
    public const uint Long = 1 << 13;
    public const uint Big = 1 << 14;
    public const uint Granularity = 1 << 15;
    public const uint Unusable = 1 << 16;
    public const uint TypeMask = 0xF;

    /// <summary>Bits that a descriptor gives: all but the limit's.</summary>
    public const uint Mask = 0xF0FF;

    public const uint TypeTss16 = 1;
    public const uint TypeLdt = 2;
    public const uint TypeTss16Busy = 3;
    public const uint TypeCallGate16 = 4;
    public const uint TypeTaskGate = 5;
    public const uint TypeInterruptGate16 = 6;
    public const uint TypeTrapGate16 = 7;
    public const uint TypeTss = 9;
    public const uint TypeTssBusy = 11;
    public const uint TypeCallGate = 12;
    public const uint TypeInterruptGate = 14;
    public const uint TypeTrapGate = 15;
}
