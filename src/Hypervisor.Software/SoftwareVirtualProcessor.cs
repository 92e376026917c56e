using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Software.Translator;

namespace Vitro.Hypervisor.Software;

/// <summary>
/// One virtual processor of the software engine: its state, its run loop and the signals of other threads. The other
/// parts of the class (folder System) are the system instructions, the vector instructions (folder Vector) those of x87, SSE and AVX.
/// </summary>
/// <remarks>
/// Signals set a bit in <see cref="VpState.Requests"/>, which the executing core tests at every block's end, and wake a
/// halted processor. Requests the guest has masked wait in <see cref="VpState.DeferredRequests"/>, so that a set bit always
/// means work; whatever unmasks (STI, POPF, IRET) puts them back.
/// </remarks>
internal sealed unsafe partial class SoftwareVirtualProcessor : IVirtualProcessor, IDisposable
{
    private const int HaltSpins = 200;

    private readonly ILocalInterruptController _interrupts;
    private readonly ManualResetEventSlim _wake = new(false, 0);
    private int _isWaiting;
    private int _inGuest;
    private int _flushRequested;
    private int _flushDone;
    private int _startupVector;
    private bool _isShutDown;
    private ulong _blocksHeldSince = ulong.MaxValue;
    private bool _isExclusive;
    private string _shutdownDetail = "";

    /// <summary>Creates a processor in its reset state.</summary>
    public SoftwareVirtualProcessor(SoftwarePartition partition, int index, PartitionOptions options)
    {
        Partition = partition;
        Index = index;
        _interrupts = options.InterruptControllers[index];
        _intercepts = options.Intercepts;
        _clock = options.Clock;
        State = ProcessorMemory.Allocate();
        State->Xsave = (byte*)NativeMemory.AlignedAlloc(4096, 4096);
        NativeMemory.Clear(State->Xsave, 4096);
        State->Index = index;
        State->FaultVector = -1;
        State->VectorsAbsent = 1;
        State->AvxAbsent = 1;
        State->X87Absent = 1;
        State->UppersInUse = 1;
        State->Features = CpuFeatureBits.Of(options.Cpuid);
        Mmu = new Mmu(this, State, options.Gpa, options.Intercepts);
        _cpuid = BuildCpuid(options);
        Plain = new PlainInstructions(State);
        Core = partition.Execution.CreateCore(this);
        Reset();
    }

    /// <inheritdoc/>
    public int Index { get; }

    /// <summary>The partition it belongs to.</summary>
    public SoftwarePartition Partition { get; }

    /// <summary>Since which epoch of the block cache its thread may hold pointers to blocks; written by that thread only.</summary>
    internal ref ulong BlocksHeldSince => ref _blocksHeldSince;

    /// <summary>Its state.</summary>
    public VpState* State { get; }

    /// <summary>Its memory side.</summary>
    public Mmu Mmu { get; }

    /// <summary>Instructions of the translator's blocks that it needs decoded.</summary>
    internal PlainInstructions Plain { get; }

    /// <summary>What executes its instructions.</summary>
    public IExecutionCore Core { get; }

    /// <summary>Whether it is in guest code: the engine's wide requests wait for it only then.</summary>
    internal bool IsInGuest => Volatile.Read(ref _inGuest) != 0;

    /// <inheritdoc/>
    public VpExit Run()
    {
        EnterGuest();
        try
        {
            while (true)
            {
                if (_isShutDown)
                {
                    return new VpExit(VpExitReason.TripleFault, _shutdownDetail);
                }

                if (Volatile.Read(ref State->Requests) != 0)
                {
                    if (!ServiceRequests(out var isShadowOver))
                    {
                        return new VpExit(VpExitReason.Cancelled, "");
                    }

                    if (isShadowOver)
                    {
                        continue;
                    }
                }

                if (State->Activity != (uint)VpActivity.Running)
                {
                    WaitForRequest();
                    continue;
                }

                Core.Run(this);
            }
        }
        catch (Exception error)
        {
            return new VpExit(VpExitReason.InternalError, $"{Describe()}: {error}");
        }
        finally
        {
            LeaveGuest();
        }
    }

    /// <inheritdoc/>
    public void Cancel() => Request(VpRequest.Cancel);

    /// <inheritdoc/>
    public void SignalInterrupt() => Request(VpRequest.Interrupt);

    /// <inheritdoc/>
    public void SignalNmi() => Request(VpRequest.Nmi);

    /// <inheritdoc/>
    public void SignalInit() => Request(VpRequest.Init);

    /// <inheritdoc/>
    public void SignalStartup(byte vector)
    {
        Volatile.Write(ref _startupVector, vector);
        Request(VpRequest.Startup);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _vector?.Dispose();
        Mmu.Dispose();
        _wake.Dispose();
        NativeMemory.AlignedFree(State->Xsave);
        ProcessorMemory.Free(State);
    }

    /// <summary>
    /// Marks the processor as out of guest code, before anything that may wait (locks, intercepts): engine-wide requests
    /// do not wait for it, and no translation or host pointer obtained before holds afterwards.
    /// </summary>
    internal void LeaveGuest()
    {
        // Within its own exclusive section the others stand still anyway, and must go on doing so.
        if (!_isExclusive)
        {
            Volatile.Write(ref _inGuest, 0);
        }
    }

    /// <summary>Back to guest code: waits out exclusive sections and honours a flush asked for meanwhile.</summary>
    internal void EnterGuest()
    {
        while (!_isExclusive)
        {
            Interlocked.Exchange(ref _inGuest, 1);
            if (!Partition.IsExclusive)
            {
                break;
            }

            Volatile.Write(ref _inGuest, 0);
            var spin = default(SpinWait);
            while (Partition.IsExclusive)
            {
                spin.SpinOnce();
            }
        }

        ResumeInGuest();
    }

    /// <summary>As <see cref="EnterGuest"/>, by the holder of the exclusive section itself.</summary>
    internal void EnterGuestExclusively()
    {
        _isExclusive = true;
        Interlocked.Exchange(ref _inGuest, 1);
        ResumeInGuest();
    }

    /// <summary>The holder ends its exclusive section.</summary>
    internal void EndExclusively() => _isExclusive = false;

    /// <summary>Asks for all translations to be dropped; <see cref="HasFlushed"/> tells when it is done.</summary>
    internal int RequestFlush()
    {
        var ticket = Interlocked.Increment(ref _flushRequested);
        Request(VpRequest.FlushTlb);
        return ticket;
    }

    /// <summary>Whether a flush is done, or will be before the processor uses a translation again.</summary>
    internal bool HasFlushed(int ticket) => !IsInGuest || Volatile.Read(ref _flushDone) - ticket >= 0;

    /// <summary>Sets request bits and wakes the processor.</summary>
    internal void Request(VpRequest request)
    {
        Interlocked.Or(ref State->Requests, (uint)request);
        if (Volatile.Read(ref _isWaiting) != 0)
        {
            _wake.Set();
        }
    }

    /// <summary>The block cache's view by linear address is stale.</summary>
    internal void OnFetchTlbFlushed(bool isGlobalKept = false) => Partition.CodePages.OnFetchTlbFlushed(this, isGlobalKept);

    /// <summary>The block cache's view of a page by linear address is stale.</summary>
    internal void OnFetchPageFlushed(ulong linear) => Partition.CodePages.OnFetchPageFlushed(this, linear);

    /// <summary>Puts requests back that waited for what the guest has just unmasked.</summary>
    internal void RestoreDeferredRequests()
    {
        if (State->DeferredRequests != 0)
        {
            var deferred = State->DeferredRequests;
            State->DeferredRequests = 0;
            Interlocked.Or(ref State->Requests, deferred);
        }
    }

    private void ResumeInGuest()
    {
        if ((Volatile.Read(ref State->Requests) & (uint)VpRequest.FlushTlb) != 0)
        {
            Flush();
        }
    }

    private void Flush()
    {
        var ticket = Volatile.Read(ref _flushRequested);
        Clear(VpRequest.FlushTlb);
        Mmu.FlushAll();
        Volatile.Write(ref _flushDone, ticket);
    }

    private void Clear(VpRequest request) => Interlocked.And(ref State->Requests, ~(uint)request);

    private void Defer(VpRequest request)
    {
        Clear(request);
        State->DeferredRequests |= (uint)request;
    }

    /// <summary>Serves what is requested, at an instruction boundary; false when the run was cancelled.</summary>
    /// <param name="isShadowOver">
    /// The instruction in an interrupt shadow was run; what it kept back must be served before the next one.
    /// </param>
    internal bool ServiceRequests(out bool isShadowOver)
    {
        isShadowOver = false;
        var requests = (VpRequest)Volatile.Read(ref State->Requests);
        if ((requests & VpRequest.FlushTlb) != 0)
        {
            Flush();
        }

        if ((requests & VpRequest.Pause) != 0)
        {
            Clear(VpRequest.Pause);
            LeaveGuest();
            EnterGuest();
        }

        if ((requests & VpRequest.Init) != 0)
        {
            Clear(VpRequest.Init);
            ResetArchitecture(isInit: true);
        }

        if ((requests & VpRequest.Startup) != 0)
        {
            Clear(VpRequest.Startup);
            if (State->Activity == (uint)VpActivity.WaitForStartup)
            {
                StartAt((byte)Volatile.Read(ref _startupVector));
            }
        }

        if ((requests & VpRequest.Cancel) != 0)
        {
            Clear(VpRequest.Cancel);
            return false;
        }

        if (State->Activity == (uint)VpActivity.WaitForStartup)
        {
            // Interrupts and NMIs do not reach a processor that was never started.
            Clear(VpRequest.Interrupt | VpRequest.Nmi);
            return true;
        }

        if ((requests & VpRequest.DebugTrap) != 0)
        {
            Clear(VpRequest.DebugTrap);
            DeliverDebugTrap(_pendingDebug);
            _pendingDebug = 0;
            return true;
        }

        if ((requests & (VpRequest.Nmi | VpRequest.Interrupt)) == 0)
        {
            return true;
        }

        if (State->InterruptShadow != 0)
        {
            State->InterruptShadow = 0;
            if (State->Activity == (uint)VpActivity.Running)
            {
                Core.Step(this);
                isShadowOver = true;
                return true;
            }
        }

        if ((requests & VpRequest.Nmi) != 0)
        {
            if (State->NmiBlocked != 0)
            {
                Defer(VpRequest.Nmi);
            }
            else
            {
                Clear(VpRequest.Nmi);
                State->Activity = (uint)VpActivity.Running;
                DeliverNmi();
                return true;
            }
        }

        if ((requests & VpRequest.Interrupt) != 0)
        {
            ServiceInterrupt();
        }

        return true;
    }

    private void ServiceInterrupt()
    {
        if ((State->SystemFlags & RFlags.If) == 0)
        {
            Defer(VpRequest.Interrupt);

            // Whoever raised the interrupt between the test and the deferral set the bit again; nothing is lost.
            return;
        }

        Clear(VpRequest.Interrupt);
        if (TryTakeAcknowledged(out var vector) || _interrupts.TryAcknowledge(out vector))
        {
            State->Activity = (uint)VpActivity.Running;
            Counters.Interrupts++;
            DeliverInterrupt(vector);
            if (_interrupts.HasPendingInterrupt)
            {
                Interlocked.Or(ref State->Requests, (uint)VpRequest.Interrupt);
            }
        }
    }

    /// <summary>Waits for a request while halted: a short spin, for the wake-up is often near, then without using the host.</summary>
    private void WaitForRequest()
    {
        LeaveGuest();
        for (var i = 0; i < HaltSpins && Volatile.Read(ref State->Requests) == 0; i++)
        {
            Thread.SpinWait(4);
        }

        while (Volatile.Read(ref State->Requests) == 0)
        {
            _wake.Reset();
            Interlocked.Exchange(ref _isWaiting, 1);
            if (Volatile.Read(ref State->Requests) == 0)
            {
                _wake.Wait();
            }

            Volatile.Write(ref _isWaiting, 0);
        }

        EnterGuest();
    }
}
