using System.Numerics;
using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using Vitro.Hypervisor.Engine;
using static Vitro.Chipset.LocalApicSpec;

namespace Vitro.Chipset;

/// <summary>
/// The local APIC of one virtual processor, in xAPIC and x2APIC mode (Intel SDM volume 3, chapter "Advanced Programmable
/// Interrupt Controller"). Its APIC id is the processor's index.
/// </summary>
/// <remarks>
/// Any thread may make an interrupt pending: that is one interlocked operation on the request register. Registers are
/// accessed on the processor's own thread. No lock is held while another processor, device or controller is called.
/// </remarks>
public sealed partial class LocalApic : IVirtualDevice, ILocalInterruptController, IMmio
{
    /// <summary>Counts of the timer a second at divide value 1, in Hz; MSR 0x40000023 reports it to the guest.</summary>
    public const long TimerFrequency = 1_000_000_000;

    private readonly LocalApicBus _bus;
    private readonly VmClock _clock;
    private readonly VmTimer _wakeUp;
    private readonly Func<ulong, long>? _tscToNanoseconds;
    private readonly bool _hasX2Apic;
    private readonly Lock _gate = new();
    private readonly ApicTimer _timer = new();

    // 256-bit registers. Request, trigger mode and auto-EOI bits change by interlocked operations; the in-service register
    // changes under the gate and is read without it.
    private readonly ulong[] _request = new ulong[4];
    private readonly ulong[] _triggerMode = new ulong[4];
    private readonly ulong[] _autoEoi = new ulong[4];
    private readonly ulong[] _inService = new ulong[4];
    private readonly uint[] _lvt = new uint[LvtCount];

    private IVirtualProcessor? _processor;
    private IExternalInterruptSource? _external;
    private ulong _apicBase;
    private uint _taskPriority;
    private uint _spurious;
    private uint _logicalDestination;
    private uint _destinationFormat;
    private uint _errorStatus;
    private uint _errorPending;
    private ulong _command;
    private ulong _tscDeadline;
    private bool _lint0;
    private bool _running;
    private long _accepted;
    private long _acknowledged;

    internal LocalApic(LocalApicBus bus, int index, VmClock clock, bool hasX2Apic, Func<ulong, long>? tscToNanoseconds)
    {
        _bus = bus;
        Index = index;
        _clock = clock;
        _hasX2Apic = hasX2Apic;
        _tscToNanoseconds = tscToNanoseconds;
        _wakeUp = clock.CreateTimer(OnTimer);
        Reset(ResetKind.Cold);
    }

    /// <inheritdoc/>
    public string Name => $"lapic{Index}";

    /// <summary>The processor's index and APIC id.</summary>
    public int Index { get; }

    /// <summary>The APIC is in x2APIC mode: registers are MSRs.</summary>
    public bool IsX2Apic => (Volatile.Read(ref _apicBase) & ApicBaseX2Apic) != 0;

    /// <summary>Guest physical address of the 4 KiB register page in xAPIC mode; null in other modes.</summary>
    public ulong? MmioAddress
    {
        get
        {
            var apicBase = Volatile.Read(ref _apicBase);
            return (apicBase & (ApicBaseEnable | ApicBaseX2Apic)) == ApicBaseEnable ? apicBase & ApicBaseAddress : null;
        }
    }

    /// <summary>The task priority register.</summary>
    public byte TaskPriority
    {
        get => (byte)Volatile.Read(ref _taskPriority);
        set
        {
            Volatile.Write(ref _taskPriority, value);
            SignalIfPending();
        }
    }

    /// <inheritdoc/>
    public byte Cr8
    {
        get => (byte)(TaskPriority >> 4);
        set => TaskPriority = (byte)(value << 4);
    }

    /// <inheritdoc/>
    public bool HasPendingInterrupt => (_engine is null && TryFindDeliverable(out _)) || IsExternalPending;

    /// <summary>The lowest-priority arbitration compares this: bits 7:4 are the class below which nothing is delivered.</summary>
    internal byte ProcessorPriority
    {
        get
        {
            var inService = Highest(_inService);
            var task = Volatile.Read(ref _taskPriority);
            return inService >= 0 && (uint)(inService & 0xF0) > (task & 0xF0) ? (byte)(inService & 0xF0) : (byte)task;
        }
    }

    /// <summary>Fixed interrupts are taken: enabled in the APIC base and the spurious vector register.</summary>
    internal bool AcceptsFixed =>
        (Volatile.Read(ref _apicBase) & ApicBaseEnable) != 0 && (Volatile.Read(ref _spurious) & SpuriousEnable) != 0;

    private bool IsExternalPending =>
        _external is { IsAsserted: true } &&
        (_engine is not null ||
            (Volatile.Read(ref _apicBase) & ApicBaseEnable) == 0 ||
            (Volatile.Read(ref _lvt[LvtLint0]) & (LvtMasked | LvtModeMask)) == LvtModeExtInt);

    /// <inheritdoc/>
    public bool TryAcknowledge(out byte vector)
    {
        lock (_gate)
        {
            vector = 0;
            if (_engine is null && TryFindDeliverable(out vector))
            {
                var word = vector >> 6;
                var bit = 1UL << (vector & 63);
                // Auto-EOI first: a request that arrives after the bit has been taken decides anew.
                var ends = (Interlocked.And(ref _autoEoi[word], ~bit) & bit) != 0;
                Interlocked.And(ref _request[word], ~bit);
                if (!ends)
                {
                    Volatile.Write(ref _inService[word], _inService[word] | bit);
                }

                _acknowledged++;
                return true;
            }
        }

        // Neither lock is held: the 8259 pair has its own.
        if (IsExternalPending)
        {
            vector = _external!.Acknowledge();
            _acknowledged++;
            return true;
        }

        return false;
    }

    /// <summary>A write of the EOI register: ends the highest interrupt in service. Called on the processor's thread.</summary>
    public void EndOfInterrupt()
    {
        int vector;
        bool isLevel;
        lock (_gate)
        {
            vector = Highest(_inService);
            if (vector < 0)
            {
                return;
            }

            var word = vector >> 6;
            var bit = 1UL << (vector & 63);
            Volatile.Write(ref _inService[word], _inService[word] & ~bit);
            isLevel = (Volatile.Read(ref _triggerMode[word]) & bit) != 0;
        }

        _bus.OnEndOfInterrupt(Index, (byte)vector, isLevel);
        SignalIfPending();
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_gate)
        {
            _running = _engine is null;
            Schedule();
        }
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        lock (_gate)
        {
            _running = false;
            _wakeUp.Disarm();
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            Volatile.Write(ref _apicBase, DefaultAddress | ApicBaseEnable | (Index == 0 ? ApicBaseBsp : 0));
            ResetRegisters();
        }

        WriteToEngine();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("mode", (_apicBase & ApicBaseEnable) == 0 ? "disabled" : IsX2Apic ? "x2apic" : "xapic")
                .Value("enabled", AcceptsFixed)
                .Hex("base", _apicBase)
                .Hex("tpr", _taskPriority)
                .Hex("ppr", ProcessorPriority)
                .Hex("svr", _spurious)
                .Hex("ldr", ReadLogicalDestination())
                .Hex("icr", _command)
                .Value("irr", Vectors(_request))
                .Value("isr", Vectors(_inService))
                .Value("accepted", _accepted)
                .Value("acknowledged", _acknowledged);
            var lvt = node.Child("lvt");
            ReadOnlySpan<string> names = ["timer", "thermal", "performance", "lint0", "lint1", "error"];
            for (var i = 0; i < LvtCount; i++)
            {
                lvt.Hex(names[i], _lvt[i]);
            }

            node.Child("timer")
                .Value("mode", _timer.Mode.ToString())
                .Value("initial", _timer.InitialCount)
                .Value("current", _timer.CurrentCount(_clock.Nanoseconds))
                .Value("divisor", _timer.Divisor);
        }
    }

    internal void Attach(IVirtualProcessor processor) => Volatile.Write(ref _processor, processor);

    internal void ConnectExternal(IExternalInterruptSource source) => _external = source;

    /// <summary>The state firmware leaves: enabled, LINT0 takes the 8259 pair's interrupts, LINT1 is NMI.</summary>
    internal void EnterVirtualWire()
    {
        lock (_gate)
        {
            _spurious = SpuriousEnable | 0x0F;
            _lvt[LvtLint0] = LvtModeExtInt;
            _lvt[LvtLint1] = LvtModeNmi;
        }

        WriteToEngine();
    }

    /// <summary>LINT0 may have changed its level.</summary>
    internal void OnExternalChanged()
    {
        var high = _external!.IsAsserted;
        bool rose;
        uint entry;
        lock (_gate)
        {
            rose = high && !_lint0;
            _lint0 = high;
            entry = _lvt[LvtLint0];
        }

        if (!high)
        {
            return;
        }

        if (IsExternalPending)
        {
            Volatile.Read(ref _processor)?.SignalInterrupt();
        }
        else if (rose && (entry & LvtMasked) == 0)
        {
            DeliverLocal(entry);
        }
    }

    /// <summary>Makes a fixed interrupt pending. Any thread.</summary>
    internal void AcceptFixed(byte vector, bool isLevel, bool autoEoi)
    {
        if (!AcceptsFixed)
        {
            return;
        }

        if (vector < FirstVector)
        {
            RaiseError(ErrorReceiveIllegalVector);
            return;
        }

        var word = vector >> 6;
        var bit = 1UL << (vector & 63);
        SetBit(ref _triggerMode[word], bit, isLevel);
        SetBit(ref _autoEoi[word], bit, autoEoi);
        if ((Interlocked.Or(ref _request[word], bit) & bit) == 0)
        {
            Interlocked.Increment(ref _accepted);
            Volatile.Read(ref _processor)?.SignalInterrupt();
        }
    }

    /// <summary>Takes any interrupt message addressed here. Any thread, no lock held.</summary>
    internal void Accept(DeliveryMode delivery, byte vector, bool isLevel)
    {
        if ((Volatile.Read(ref _apicBase) & ApicBaseEnable) == 0)
        {
            return;
        }

        var processor = Volatile.Read(ref _processor);
        switch (delivery)
        {
            case DeliveryMode.Fixed:
            case DeliveryMode.LowestPriority:
                AcceptFixed(vector, isLevel, autoEoi: false);
                break;
            case DeliveryMode.Nmi:
                processor?.SignalNmi();
                break;
            case DeliveryMode.Init:
                lock (_gate)
                {
                    ResetRegisters();
                }

                processor?.SignalInit();
                break;
            case DeliveryMode.Startup:
                processor?.SignalStartup(vector);
                break;
            default:
                // SMM is not offered, and the 8259 pair is wired to LINT0 only.
                break;
        }
    }

    /// <summary>Whether a message's destination names this APIC.</summary>
    internal bool Matches(uint destination, bool isLogical)
    {
        if (!isLogical)
        {
            return destination == (uint)Index || destination == InterruptMessage.Broadcast;
        }

        if (IsX2Apic)
        {
            var own = ReadLogicalDestination();
            return destination == InterruptMessage.Broadcast ||
                (destination >> 16 == own >> 16 && (destination & own & 0xFFFF) != 0);
        }

        var logical = Volatile.Read(ref _logicalDestination) >> 24;
        destination &= 0xFF;
        if (Volatile.Read(ref _destinationFormat) >> 28 == 0xF)
        {
            return (destination & logical) != 0;
        }

        var cluster = destination >> 4;
        return (cluster == 0xF || cluster == logical >> 4) && (destination & logical & 0xF) != 0;
    }

    private static int Highest(ulong[] register)
    {
        for (var word = 3; word >= 0; word--)
        {
            var bits = Volatile.Read(ref register[word]);
            if (bits != 0)
            {
                return (word << 6) + 63 - BitOperations.LeadingZeroCount(bits);
            }
        }

        return -1;
    }

    private static void SetBit(ref ulong word, ulong bit, bool value)
    {
        if (((Volatile.Read(ref word) & bit) != 0) == value)
        {
            return;
        }

        if (value)
        {
            Interlocked.Or(ref word, bit);
        }
        else
        {
            Interlocked.And(ref word, ~bit);
        }
    }

    private static string Vectors(ulong[] register)
    {
        var vectors = Enumerable.Range(0, 256).Where(vector => (register[vector >> 6] >> (vector & 63) & 1) != 0);
        return string.Join(' ', vectors.Select(vector => "0x" + vector.ToString("x2")));
    }

    private bool TryFindDeliverable(out byte vector)
    {
        var highest = Highest(_request);
        vector = (byte)highest;
        return highest >= 0 && highest >> 4 > ProcessorPriority >> 4;
    }

    private void SignalIfPending()
    {
        if (HasPendingInterrupt)
        {
            Volatile.Read(ref _processor)?.SignalInterrupt();
        }
    }

    private void DeliverLocal(uint entry)
    {
        switch ((DeliveryMode)((entry >> 8) & 7))
        {
            case DeliveryMode.Fixed:
                AcceptFixed((byte)entry, isLevel: false, autoEoi: false);
                break;
            case DeliveryMode.Nmi:
                Volatile.Read(ref _processor)?.SignalNmi();
                break;
            default:
                break;
        }
    }

    private void RaiseError(uint bit)
    {
        uint entry;
        lock (_gate)
        {
            _errorPending |= bit;
            entry = _lvt[LvtError];
        }

        if ((entry & LvtMasked) == 0 && (byte)entry >= FirstVector)
        {
            AcceptFixed((byte)entry, isLevel: false, autoEoi: false);
        }
    }

    private void OnTimer()
    {
        uint entry;
        lock (_gate)
        {
            if (!_running || !_timer.TryExpire(_clock.Nanoseconds))
            {
                return;
            }

            if (_timer.Mode == ApicTimerMode.TscDeadline)
            {
                _tscDeadline = 0;
            }

            entry = _lvt[LvtTimer];
            Schedule();
        }

        if ((entry & LvtMasked) == 0)
        {
            AcceptFixed((byte)entry, isLevel: false, autoEoi: false);
        }
    }

    private void Schedule()
    {
        if (!_running)
        {
            return;
        }

        if (_timer.NextExpiry == long.MaxValue)
        {
            _wakeUp.Disarm();
        }
        else
        {
            _wakeUp.Arm(_timer.NextExpiry);
        }
    }

    private void ResetRegisters()
    {
        for (var i = 0; i < 4; i++)
        {
            Volatile.Write(ref _request[i], 0);
            Volatile.Write(ref _triggerMode[i], 0);
            Volatile.Write(ref _autoEoi[i], 0);
            Volatile.Write(ref _inService[i], 0);
        }

        Array.Fill(_lvt, LvtMasked);
        _taskPriority = 0;
        _spurious = 0xFF;
        _logicalDestination = 0;
        _destinationFormat = FlatFormat;
        _errorStatus = 0;
        _errorPending = 0;
        _command = 0;
        _tscDeadline = 0;
        _timer.Reset();
        _wakeUp.Disarm();
    }
}
