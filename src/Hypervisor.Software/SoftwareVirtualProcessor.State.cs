using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Vector;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>Reset, the engine-neutral state record, and inspection.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private const int XsaveSize = XsaveArea.Size;

    // An interrupt that another engine had taken from its controller and not delivered when the state was read.
    private byte? _acknowledged;
    private ulong _pendingDebug;

    /// <summary>What happened so far, for inspection; written by the processor's thread only.</summary>
    internal VpCounters Counters { get; } = new();

    /// <inheritdoc/>
    public void Reset()
    {
        Interlocked.Exchange(ref State->Requests, 0);
        State->DeferredRequests = 0;
        _isShutDown = false;
        _acknowledged = null;
        _pendingDebug = 0;
        ResetArchitecture(isInit: false);
    }

    /// <inheritdoc/>
    public VirtualProcessorState GetState()
    {
        var state = new VirtualProcessorState
        {
            Rip = State->Rip,
            Rflags = LazyFlags.GetRflags(State),
            Cs = Export(State->Cs),
            Ss = Export(State->Ss),
            Ds = Export(State->Ds),
            Es = Export(State->Es),
            Fs = Export(State->Fs),
            Gs = Export(State->Gs),
            Ldtr = Export(State->Ldtr),
            Tr = Export(State->Tr),
            Gdtr = new TableState(State->GdtBase, (ushort)State->GdtLimit),
            Idtr = new TableState(State->IdtBase, (ushort)State->IdtLimit),
            Cr0 = State->Cr0,
            Cr2 = State->Cr2,
            Cr3 = State->Cr3,
            Cr4 = State->Cr4,
            Efer = State->Efer,
            Xcr0 = State->Xcr0,
            TscOffset = State->TscOffset,
            Activity = (VpActivity)State->Activity,
            InterruptShadow = State->InterruptShadow != 0,
            NmiPending = ((State->Requests | State->DeferredRequests) & (uint)VpRequest.Nmi) != 0,
            NmiBlocked = State->NmiBlocked != 0,
            InitPending = (State->Requests & (uint)VpRequest.Init) != 0,
            PendingStartup = (State->Requests & (uint)VpRequest.Startup) != 0 ? (byte)_startupVector : null,
            AcknowledgedInterrupt = _acknowledged,
            PendingDebug = _pendingDebug,
        };
        for (var i = 0; i < 16; i++)
        {
            state.Gpr[i] = State->Gpr[i];
        }

        for (var i = 0; i < 8; i++)
        {
            state.Dr[i] = State->Dr[i];
        }

        new ReadOnlySpan<byte>(State->Xsave, XsaveSize).CopyTo(state.Xsave);
        ExportMsrs(state.Msrs);
        return state;
    }

    /// <inheritdoc/>
    public void SetState(VirtualProcessorState state)
    {
        if (state.InSystemManagement)
        {
            throw new SavedStateException($"Virtual processor {Index} is in system management mode, which the software engine does not have. Go on under KVM.");
        }

        for (var i = 0; i < 16; i++)
        {
            State->Gpr[i] = state.Gpr[i];
        }

        for (var i = 0; i < 8; i++)
        {
            State->Dr[i] = state.Dr[i];
        }

        State->Rip = state.Rip;
        LazyFlags.SetRflags(State, state.Rflags & RFlags.Defined);
        State->Cs = Import(state.Cs);
        State->Ss = Import(state.Ss);
        State->Ds = Import(state.Ds);
        State->Es = Import(state.Es);
        State->Fs = Import(state.Fs);
        State->Gs = Import(state.Gs);
        State->Ldtr = Import(state.Ldtr);
        State->Tr = Import(state.Tr);
        State->GdtBase = state.Gdtr.Base;
        State->GdtLimit = state.Gdtr.Limit;
        State->IdtBase = state.Idtr.Base;
        State->IdtLimit = state.Idtr.Limit;
        State->Cr0 = state.Cr0 & ControlBits.Cr0Defined;
        State->Cr2 = state.Cr2;
        State->Cr3 = state.Cr3;
        State->Cr4 = state.Cr4 & ControlBits.Cr4Supported;
        State->Efer = state.Efer & ControlBits.EferSupported;

        // A state may come from a file of anybody's: a component this engine has no registers for must not be on.
        State->Xcr0 = (state.Xcr0 & SupportedXcr0) | 1;
        State->TscOffset = state.TscOffset;
        State->Activity = (uint)state.Activity;
        State->InterruptShadow = state.InterruptShadow ? 1u : 0;
        State->NmiBlocked = state.NmiBlocked ? 1u : 0;
        State->FaultVector = -1;
        State->DeferredRequests = 0;
        _acknowledged = state.AcknowledgedInterrupt;
        _pendingDebug = state.PendingDebug & VirtualProcessorState.DebugReasons;
        new ReadOnlySpan<byte>(state.Xsave, 0, Math.Min(state.Xsave.Length, XsaveSize)).CopyTo(new Span<byte>(State->Xsave, XsaveSize));
        XsaveArea.Sanitize(State->Xsave);
        State->UppersInUse = 1;
        ImportMsrs(state.Msrs);

        // The stack segment's DPL is the CPL in every mode but real and virtual-8086, where it is fixed.
        State->Cpl = !IsProtected ? 0 : IsVirtual8086 ? 3 : (State->Ss.Attributes >> SegmentBits.DplShift) & 3;
        if (IsProtected && (State->Cs.Attributes & SegmentBits.Unusable) == 0 && (State->Ss.Attributes & SegmentBits.Unusable) != 0)
        {
            State->Cpl = State->Cs.Selector & 3;
        }

        Mmu.Restart();
        UpdateDebugWatch();
        UpdateMode();
        OnFetchTlbFlushed();

        // Whatever waits in the interrupt controller is looked at anew.
        Request(VpRequest.Interrupt | (state.NmiPending ? VpRequest.Nmi : VpRequest.None) | (state.InitPending ? VpRequest.Init : VpRequest.None));
        if (_pendingDebug != 0)
        {
            Request(VpRequest.DebugTrap);
        }

        if (state.PendingStartup is { } vector)
        {
            SignalStartup(vector);
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        node.Value("activity", ((VpActivity)State->Activity).ToString());
        node.Value("mode", ((VpMode)State->Mode).ToString());
        node.Value("cpl", State->Cpl);
        node.Hex("requests", State->Requests);
        var registers = node.Child("registers");
        for (var i = 0; i < 16; i++)
        {
            registers.Hex(RegisterNames[i], State->Gpr[i]);
        }

        registers.Hex("rip", State->Rip);
        registers.Hex("rflags", LazyFlags.GetRflags(State));
        registers.Hex("cr0", State->Cr0);
        registers.Hex("cr2", State->Cr2);
        registers.Hex("cr3", State->Cr3);
        registers.Hex("cr4", State->Cr4);
        registers.Hex("efer", State->Efer);
        registers.Hex("cs", State->Cs.Selector);
        registers.Hex("ss", State->Ss.Selector);
        registers.Hex("fs_base", State->Fs.Base);
        registers.Hex("gs_base", State->Gs.Base);
        node.Value("recent_exceptions", Counters.Exceptions.Describe(8));
        var counters = node.Child("counters");
        if (Core.CountsInstructions)
        {
            counters.Value("instructions", (long)State->InstructionCount);
        }

        counters.Value("interrupts", Counters.Interrupts);
        counters.Value("nmis", Counters.Nmis);
        counters.Value("exceptions", Counters.Exceptions.Count);
        counters.Value("port_io", Counters.PortIo);
        counters.Value("mmio", Counters.Mmio);
        counters.Value("msr", Counters.Msr);
        counters.Value("cpuid", Counters.Cpuid);
        counters.Value("halts", Counters.Halts);
        counters.Value("hypercalls", Counters.Hypercalls);
        counters.Value("tlb_fills", (long)Mmu.Fills);
        counters.Value("page_walks", (long)Mmu.Walks);
        counters.Value("tlb_flushes", (long)Mmu.Flushes);
        (Core as IInspectable)?.Inspect(node.Child("exits"));
    }

    /// <summary>Counts a device access.</summary>
    internal void CountMmio() => Counters.Mmio++;

    private static readonly string[] RegisterNames =
    [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    ];

    private static SegmentState Export(in SegmentCache cache) => new((ushort)cache.Selector, cache.Base, cache.Limit, cache.Attributes);

    private static SegmentCache Import(SegmentState state) => new()
    {
        Selector = state.Selector,
        Base = state.Base,
        Limit = state.Limit,
        Attributes = state.Attributes & (SegmentBits.Mask | SegmentBits.Unusable),
    };

    private static SegmentCache RealSegment(uint selector, ulong segmentBase, uint attributes) => new()
    {
        Selector = selector,
        Base = segmentBase,
        Limit = 0xFFFF,
        Attributes = attributes,
    };

    /// <summary>
    /// The state after a hardware reset, or after INIT, which spares the caches, the vector state and most MSRs (Intel SDM
    /// volume 3, table 9-1). Application processors wait for a start-up IPI afterwards.
    /// </summary>
    private void ResetArchitecture(bool isInit)
    {
        for (var i = 0; i < 16; i++)
        {
            State->Gpr[i] = 0;
        }

        State->Gpr[2] = _cpuid.Signature;
        State->Rip = 0xFFF0;
        LazyFlags.SetRflags(State, RFlags.Fixed);
        State->Cs = RealSegment(0xF000, 0xFFFF_0000, 0x9B);
        State->Ds = State->Es = State->Ss = State->Fs = State->Gs = RealSegment(0, 0, 0x93);
        State->Ldtr = RealSegment(0, 0, 0x82);
        State->Tr = RealSegment(0, 0, 0x8B);
        State->GdtBase = State->IdtBase = 0;
        State->GdtLimit = State->IdtLimit = 0xFFFF;
        State->Cr0 = isInit
            ? (State->Cr0 & (ControlBits.Cr0CacheDisable | ControlBits.Cr0NotWriteThrough)) | ControlBits.Cr0ExtensionType
            : ControlBits.Cr0CacheDisable | ControlBits.Cr0NotWriteThrough | ControlBits.Cr0ExtensionType;
        State->Cr2 = State->Cr3 = State->Cr4 = State->Efer = 0;
        for (var i = 0; i < 4; i++)
        {
            State->Dr[i] = 0;
        }

        State->Dr[6] = 0xFFFF_0FF0;
        State->Dr[7] = 0x400;
        State->Cpl = 0;
        State->FaultVector = -1;
        State->InterruptShadow = 0;
        State->NmiBlocked = 0;
        State->DeferredRequests = 0;
        if (!isInit)
        {
            State->Xcr0 = 1;
            XsaveArea.Initialize(State->Xsave);
            State->UppersInUse = 0;
            State->TscOffset = 0;
            ResetMsrs();
        }

        State->Activity = (uint)(Index == 0 ? VpActivity.Running : VpActivity.WaitForStartup);
        Mmu.Restart();
        UpdateDebugWatch();
        UpdateMode();
        OnFetchTlbFlushed();
    }

    private bool TryTakeAcknowledged(out byte vector)
    {
        var taken = _acknowledged;
        _acknowledged = null;
        vector = taken.GetValueOrDefault();
        return taken.HasValue;
    }

    private void StartAt(byte vector)
    {
        State->Cs = RealSegment((uint)vector << 8, (ulong)vector << 12, 0x9B);
        State->Rip = 0;
        State->Activity = (uint)VpActivity.Running;
        UpdateMode();
    }

    private string Describe() =>
        $"vp {Index} at {State->Cs.Selector:x}:{State->Rip:x} cpl {State->Cpl} mode {(VpMode)State->Mode} cr0 {State->Cr0:x} cr2 {State->Cr2:x} "
        + $"cr3 {State->Cr3:x} cr4 {State->Cr4:x} efer {State->Efer:x} rflags {LazyFlags.GetRflags(State):x} rsp {State->Gpr[4]:x}";
}

/// <summary>Counts of what a processor did besides computing.</summary>
internal sealed class VpCounters
{
    public readonly FaultHistory Exceptions = new();
    public long Interrupts;
    public long Nmis;
    public long PortIo;
    public long Mmio;
    public long Msr;
    public long Cpuid;
    public long Halts;
    public long Hypercalls;
}
