using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Platform;

namespace Vitro.Hypervisor.Kvm;

/// <summary>One virtual processor of the KVM engine: its run loop and the signals of other threads.</summary>
/// <remarks>
/// Whoever wants the processor's attention sets what it is about, then <c>immediate_exit</c>, then sends the thread a
/// signal if it is in KVM_RUN. The thread clears <c>immediate_exit</c> before it looks at what is wanted; so either it
/// sees it, or its next KVM_RUN comes back at once. An exit's result is handed over by the next KVM_RUN, which therefore
/// always happens before <see cref="Run"/> returns.
/// </remarks>
internal sealed unsafe partial class KvmVirtualProcessor : IVirtualProcessor, IDisposable
{
    private const uint MessageSmi = 2 << 8;
    private const uint MessageNmi = 4 << 8;
    private const uint MessageInit = 5 << 8;
    private const uint MessageStartup = 6 << 8;

    private readonly KvmPartition _partition;
    private readonly IInterceptHandler _intercepts;
    private readonly ILocalInterruptController _external;
    private readonly KvmRun* _run;
    private readonly FileMapping _runMapping;

    // Between the end of the shared page and who inspects, at any time and on any thread.
    private readonly Lock _sharedPage = new();
    private int _cancelled;
    private int _inKernel;
    private int _threadId;

    internal KvmVirtualProcessor(KvmPartition partition, KvmFile file, int runSize, int index)
    {
        _partition = partition;
        File = file;
        Index = index;
        _intercepts = partition.Options.Intercepts;
        _external = partition.Options.InterruptControllers[index];
        try
        {
            _runMapping = FileMapping.Create(file.Descriptor, (nuint)runSize, $"mmap of the shared page of virtual processor {index}");
        }
        catch
        {
            file.Dispose();
            throw;
        }

        _run = (KvmRun*)_runMapping.Address;
        _run->ValidRegisters = KvmRun.SyncRegisters;
        _cpuid = ProcessorTopology.Apply(partition.Options.Cpuid, partition.Options.VirtualProcessorCount, index);
        SetCpuid();
    }

    /// <inheritdoc/>
    public int Index { get; }

    /// <summary>Address of the pages that the kernel shares: struct kvm_run and what lies behind it.</summary>
    internal nint SharedPages => _runMapping.Address;

    /// <summary>Its file.</summary>
    internal KvmFile File { get; }

    /// <inheritdoc/>
    public VpExit Run()
    {
        Volatile.Write(ref _threadId, Libc.Gettid());
        while (true)
        {
            DeliverExternalInterrupt();
            Interlocked.Exchange(ref _inKernel, 1);
            var result = Libc.Ioctl(File.Descriptor, KvmRequest.Run, 0UL);
            var error = result < 0 ? Marshal.GetLastPInvokeError() : 0;
            Volatile.Write(ref _inKernel, 0);
            _partition.FlushWrites(this);
            if (error != 0)
            {
                switch (error)
                {
                    case KvmFile.Interrupted:
                        Volatile.Write(ref _run->ImmediateExit, 0);
                        Interlocked.MemoryBarrier();
                        if (Interlocked.Exchange(ref _cancelled, 0) != 0)
                        {
                            return new VpExit(VpExitReason.Cancelled, "");
                        }

                        continue;
                    case KvmFile.TryAgain:
                        // A processor that waited for its start-up message has got it.
                        continue;
                    default:
                        return Fail(FailureReport.ExplainRun(error));
                }
            }

            if (!TryServe(out var end))
            {
                return end;
            }
        }
    }

    /// <inheritdoc/>
    public void Cancel()
    {
        Volatile.Write(ref _cancelled, 1);
        Kick();
    }

    /// <inheritdoc/>
    /// <remarks>The local APIC is the kernel's; what is left to tell of is the output of the 8259 pair.</remarks>
    public void SignalInterrupt() => Kick();

    /// <inheritdoc/>
    public void SignalNmi() => _partition.Signal(Index, MessageNmi);

    /// <inheritdoc/>
    public bool TrySignalSmi()
    {
        if (_partition.HasSystemManagement)
        {
            _partition.Signal(Index, MessageSmi);
        }

        return _partition.HasSystemManagement;
    }

    /// <inheritdoc/>
    public void SignalInit() => _partition.Signal(Index, MessageInit);

    /// <inheritdoc/>
    public void SignalStartup(byte vector) => _partition.Signal(Index, MessageStartup | vector);

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_sharedPage)
        {
            _runMapping.Dispose();
        }

        File.Dispose();
    }

    private void Kick()
    {
        Volatile.Write(ref _run->ImmediateExit, 1);
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _inKernel) != 0)
        {
            HostCode.Kick(Volatile.Read(ref _threadId));
        }
    }

    // The kernel asks nobody for the vectors of a PIC that is not its own.
    private void DeliverExternalInterrupt()
    {
        if (!_external.HasPendingInterrupt)
        {
            _run->RequestInterruptWindow = 0;
            return;
        }

        if (_run->ReadyForInterrupt == 0)
        {
            _run->RequestInterruptWindow = 1;
            return;
        }

        if (_external.TryAcknowledge(out var vector))
        {
            uint number = vector;
            File.Call("Delivering an interrupt of the 8259 pair", KvmRequest.Interrupt, ref number);
            _run->ReadyForInterrupt = 0;
        }

        _run->RequestInterruptWindow = _external.HasPendingInterrupt ? (byte)1 : (byte)0;
    }

    private VpExit Fail(string what) => new(VpExitReason.InternalError, FailureReport.Describe(this, _run, what));
}
