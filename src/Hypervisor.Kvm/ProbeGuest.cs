using System.Diagnostics;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// A guest of a few instructions, run once to see whether this host's KVM executes what kernels execute, and how fast: some
/// hosts have a /dev/kvm that interprets a guest's kernel and knows only part of its instructions.
/// </summary>
internal sealed class ProbeGuest : IInterceptHandler, ILocalInterruptController, IDisposable
{
    private const ulong Code = 0x1000;
    private const ushort StopPort = 0x200;
    private const uint SyntheticMsr = 0x4000_0000;
    private const int Rounds = 3;
    private const int Iterations = 200_000;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    private readonly VmClock _clock = new(TimeProvider.System);
    private readonly GuestMemory _ram = GuestMemory.Create(1 << 20);
    private readonly GpaSpace _gpa;
    private readonly KvmPartition _partition;
    private bool _msrLeft;
    private bool _stopped;
    private double _rate;

    /// <exception cref="HypervisorException">The host makes no machine.</exception>
    internal ProbeGuest(KvmFile device)
    {
        _gpa = new GpaSpace(_ram);
        _partition = new KvmPartition(device, new PartitionOptions
        {
            Gpa = _gpa,
            VirtualProcessorCount = 1,
            Cpuid = HostCpuid.Intersect(CpuModel.X8664V1.Cpuid, HostCpuid.Read(device)),
            Clock = _clock,
            Intercepts = this,
            InterruptControllers = [this],
        }, KvmAccelerations.Choose());
        _gpa.TryWrite(Code, Program);
    }

    // In 32-bit mode without paging: an SSE store, POPCNT, a synthetic MSR, a counted loop, and the end.
    private static ReadOnlySpan<byte> Program =>
    [
        0x0F, 0x57, 0xC0, // xorps xmm0, xmm0
        0x0F, 0x11, 0x05, 0x00, 0x20, 0x00, 0x00, // movups [0x2000], xmm0
        0xF3, 0x0F, 0xB8, 0xC3, // popcnt eax, ebx
        0xB9, 0x00, 0x00, 0x00, 0x40, // mov ecx, 0x40000000
        0x0F, 0x32, // rdmsr
        0xB9, 0x40, 0x0D, 0x03, 0x00, // mov ecx, 200000
        0x49, // dec ecx
        0x75, 0xFD, // jnz
        0xBA, 0x00, 0x02, 0x00, 0x00, // mov edx, StopPort
        0xEE, // out dx, al
    ];

    /// <summary>Rate of its time stamp counter in Hz.</summary>
    internal ulong TscFrequency => _partition.TscFrequency;

    /// <summary>Runs it; null when all went well, else what did not.</summary>
    /// <param name="millionsPerSecond">Instructions a second of the loop, at best, in millions.</param>
    internal string? Run(out double millionsPerSecond)
    {
        millionsPerSecond = 0;
        for (var round = 0; round < Rounds; round++)
        {
            if (RunOnce() is { } failure)
            {
                return failure;
            }

            millionsPerSecond = Math.Max(millionsPerSecond, _rate);
        }

        return _msrLeft ? null : "synthetic MSRs do not leave the guest";
    }

    private string? RunOnce()
    {
        var processor = _partition.VirtualProcessors[0];
        var state = ResetState.Create(0, 0);
        var data = new SegmentState(0x10, 0, uint.MaxValue, 0xC093);
        state.Cs = new SegmentState(8, 0, uint.MaxValue, 0xC09B);
        state.Ss = state.Ds = state.Es = data;
        state.Cr0 = 0x11;
        state.Cr4 = 0x600;
        state.Rip = Code;
        processor.SetState(state);
        _stopped = false;
        using var limit = new Timer(_ => processor.Cancel(), null, Patience, Timeout.InfiniteTimeSpan);
        var started = Stopwatch.GetTimestamp();
        var exit = processor.Run();
        _rate = 2e-6 * Iterations / Stopwatch.GetElapsedTime(started).TotalSeconds;
        return exit.Reason != VpExitReason.Cancelled ? exit.Detail : _stopped ? null : "a guest of a few instructions did not come to its end";
    }

    public bool HasPendingInterrupt => false;

    public byte Cr8 { get; set; }

    public bool TryAcknowledge(out byte vector)
    {
        vector = 0;
        return false;
    }

    public uint ReadPort(IVirtualProcessor vp, ushort port, int size) => uint.MaxValue;

    public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value)
    {
        if (port == StopPort)
        {
            _stopped = true;
            vp.Cancel();
        }
    }

    public ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size) => ulong.MaxValue;

    public void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value)
    {
        // Nothing is there.
    }

    public bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value)
    {
        _msrLeft |= msr == SyntheticMsr;
        value = 0;
        return true;
    }

    public bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value) => true;

    public bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result)
    {
        result = 0;
        return false;
    }

    public void Dispose()
    {
        _partition.Dispose();
        _gpa.Dispose();
        _ram.Dispose();
        _clock.Dispose();
    }
}
