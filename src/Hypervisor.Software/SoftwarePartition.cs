using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software;

/// <summary>A partition run by the software engine.</summary>
internal sealed unsafe class SoftwarePartition : IPartition, IGpaObserver
{
    private const ulong NanosecondsPerSecond = 1_000_000_000;

    // What processors have; a counter outside would run over or make guests' arithmetic do so.
    private const ulong SlowestTsc = 100_000_000;
    private const ulong FastestTsc = 10_000_000_000;

    private readonly SoftwareVirtualProcessor[] _processors;
    private readonly Lock _exclusiveGate = new();
    private int _isExclusive;

    // What the counter has ahead of the machine's clock, as of a guest that comes from another engine.
    private ulong _tscBase;

    /// <summary>Creates the processors, in their reset state.</summary>
    public SoftwarePartition(PartitionOptions options, IExecutionFactory execution)
    {
        Options = options;
        TscFrequency = options.TscFrequency is { } rate and >= SlowestTsc and <= FastestTsc ? rate : NanosecondsPerSecond;
        Execution = execution;
        CodePages = execution.CreateCodePages(this);
        _processors = new SoftwareVirtualProcessor[options.VirtualProcessorCount];
        for (var i = 0; i < _processors.Length; i++)
        {
            _processors[i] = new SoftwareVirtualProcessor(this, i, options);
        }

        options.Gpa.Attach(this);
    }

    /// <summary>What it was made of.</summary>
    public PartitionOptions Options { get; }

    /// <summary>Makes its executing parts.</summary>
    public IExecutionFactory Execution { get; }

    /// <summary>The block cache.</summary>
    public ICodePageObserver CodePages { get; }

    /// <inheritdoc/>
    public IReadOnlyList<IVirtualProcessor> VirtualProcessors => _processors;

    /// <summary>The processors as what they are.</summary>
    public ReadOnlySpan<SoftwareVirtualProcessor> Processors => _processors;

    /// <inheritdoc/>
    public bool AsksForRam => true;

    /// <inheritdoc/>
    public ReadOnlySpan<byte> HypercallPageCode => [0x0F, 0x01, 0xC1, 0xC3];

    /// <inheritdoc/>
    /// <remarks>One tick is one nanosecond of the machine's clock, unless the guest comes from an engine with another rate.</remarks>
    public ulong TscFrequency { get; }

    /// <summary>Whether one processor has the memory for itself.</summary>
    internal bool IsExclusive => Volatile.Read(ref _isExclusive) != 0;

    /// <inheritdoc/>
    public ulong ReadTsc()
    {
        var nanoseconds = (ulong)Options.Clock.Nanoseconds;
        var count = TscFrequency == NanosecondsPerSecond
            ? nanoseconds
            : (ulong)((UInt128)nanoseconds * TscFrequency / NanosecondsPerSecond);
        return count + _tscBase;
    }

    /// <summary>Tells a processor's state what translated code makes the time stamp counter of. Time does not stop while processors run.</summary>
    internal void ShareClock(VpState* state)
    {
        var origin = Options.Clock.MonotonicOrigin;
        state->HasHostClock = origin is not null && MonotonicClock.Reader != 0 ? 1u : 0;
        state->HostClockOrigin = (ulong)origin.GetValueOrDefault();
        state->TscFrequency = TscFrequency;
        state->TscBase = _tscBase;
    }

    /// <inheritdoc/>
    public void SetTsc(ulong value) => _tscBase += value - ReadTsc();

    /// <inheritdoc/>
    /// <remarks>Store entries of TLBs promise that their page is marked, so all are dropped.</remarks>
    public void TakeDirtyPages(Span<ulong> pages)
    {
        Options.Gpa.TakeDirtyPages(pages);
        FlushTlbs(null);
    }

    /// <inheritdoc/>
    public bool TryFlushTranslations(int vpIndex)
    {
        // The asking one does it when it goes on.
        var current = _processors[vpIndex];
        current.RequestFlush();
        FlushTlbs(current);
        return true;
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        foreach (var processor in _processors)
        {
            processor.Inspect(node.Child("vp" + processor.Index));
        }

        (CodePages as IInspectable)?.Inspect(node.Child("code"));
    }

    /// <inheritdoc/>
    public void OnRegionsChanged()
    {
        CodePages.OnRegionsChanged();
        FlushTlbs(null);
    }

    /// <inheritdoc/>
    public void OnCodePageWritten(ulong gpa, ulong length)
    {
        while (length > 0)
        {
            var piece = (int)Math.Min(length, GuestMemory.PageSize - (gpa & (GuestMemory.PageSize - 1)));
            CodePages.OnHostStore(gpa, piece);
            gpa += (uint)piece;
            length -= (uint)piece;
        }
    }

    /// <summary>
    /// Marks a RAM page as holding code. On return no processor stores to it past the slow path. The page's blocks may be
    /// decoded after that, never before. The caller holds no lock that another processor waits for in guest code.
    /// </summary>
    /// <param name="current">The processor on whose thread this runs.</param>
    /// <param name="gpa">An address in the page.</param>
    public void ProtectCodePage(SoftwareVirtualProcessor current, ulong gpa)
    {
        var flags = Options.Gpa.PageFlags(gpa);
        if (flags == null || (Volatile.Read(ref *flags) & (byte)GpaPageFlags.HasCode) != 0)
        {
            return;
        }

        GpaSpace.SetPageFlag(flags, GpaPageFlags.HasCode);
        if ((Volatile.Read(ref *flags) & (byte)GpaPageFlags.StoreMapped) == 0)
        {
            return;
        }

        if (Options.Gpa.TryGetHostAddress(gpa & ~0xFFFUL, GuestMemory.PageSize, GpaAccess.None, out var host))
        {
            current.Mmu.DropStores((byte*)host);
        }

        if (_processors.Length > 1)
        {
            FlushTlbs(current);
        }

        GpaSpace.ClearPageFlag(flags, GpaPageFlags.StoreMapped);
    }

    /// <summary>Has all other processors drop their translations, and waits until they have.</summary>
    /// <param name="current">The processor on whose thread this runs, which needs none; null on other threads.</param>
    public void FlushTlbs(SoftwareVirtualProcessor? current)
    {
        var wasInGuest = current is { IsInGuest: true };
        if (wasInGuest)
        {
            // Two processors that ask each other must not wait for each other.
            current!.LeaveGuest();
        }

        Span<int> tickets = stackalloc int[_processors.Length];
        for (var i = 0; i < _processors.Length; i++)
        {
            if (_processors[i] != current)
            {
                tickets[i] = _processors[i].RequestFlush();
            }
        }

        for (var i = 0; i < _processors.Length; i++)
        {
            var spin = default(SpinWait);
            while (_processors[i] != current && !_processors[i].HasFlushed(tickets[i]))
            {
                spin.SpinOnce(-1);
            }
        }

        if (wasInGuest)
        {
            current!.EnterGuest();
        }
    }

    /// <summary>Stops all other processors at an instruction boundary until <see cref="EndExclusive"/>.</summary>
    internal void BeginExclusive(SoftwareVirtualProcessor current)
    {
        current.LeaveGuest();
        _exclusiveGate.Enter();
        Interlocked.Exchange(ref _isExclusive, 1);
        foreach (var processor in _processors)
        {
            if (processor != current)
            {
                processor.Request(VpRequest.Pause);
                var spin = default(SpinWait);
                while (processor.IsInGuest)
                {
                    spin.SpinOnce(-1);
                }
            }
        }

        current.EnterGuestExclusively();
    }

    /// <summary>Lets the others go on.</summary>
    internal void EndExclusive(SoftwareVirtualProcessor current)
    {
        current.EndExclusively();
        Volatile.Write(ref _isExclusive, 0);
        _exclusiveGate.Exit();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var processor in _processors)
        {
            processor.Dispose();
        }

        (CodePages as IDisposable)?.Dispose();
    }
}
