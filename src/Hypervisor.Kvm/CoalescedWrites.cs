using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// Port writes that the kernel gathers in one ring of the machine (KVM_CAP_COALESCED_PIO) rather than leave the guest at each.
/// </summary>
/// <remarks>
/// They are carried out before anything else that leaves the guest, on any processor, and before <see cref="IVirtualProcessor.Run"/>
/// returns; so devices see the guest's order, and none is in the ring while the machine stands still. A guest may leave for
/// nothing else for long: then a timer has them carried out.
/// </remarks>
internal sealed unsafe class CoalescedWrites : IDisposable
{
    private const int PageSize = 4096;
    private const int SlowestFlushMilliseconds = 50;
    private static readonly uint Entries = (uint)((PageSize - sizeof(KvmCoalescedRing)) / sizeof(KvmCoalescedWrite));

    private readonly KvmFile _vm;
    private readonly IVirtualProcessor _first;
    private readonly PartitionOptions _options;
    private readonly KvmCoalescedRing* _ring;
    private readonly Lock _gate = new();
    private readonly VmTimer _timer;
    private bool _isUsed;
    private bool _isDisposed;

    /// <summary>Sets it up on the ring that every processor's file shows at the same page.</summary>
    internal CoalescedWrites(KvmFile vm, IVirtualProcessor first, nint ring, PartitionOptions options)
    {
        _vm = vm;
        _first = first;
        _options = options;
        _ring = (KvmCoalescedRing*)ring;
        _timer = options.Clock.CreateTimer(OnTimer);
    }

    /// <summary>Where the ring lies in a processor's shared pages, in bytes; 0 when the host cannot gather port writes.</summary>
    internal static int RingOffset(KvmFile vm) => vm.Extent(KvmCapability.CoalescedPio) == 0 ? 0 : vm.Extent(KvmCapability.CoalescedMmio) * PageSize;

    /// <summary>Gathers the one-byte writes to a port.</summary>
    internal void Add(ushort port)
    {
        var zone = new KvmCoalescedZone { Address = port, Size = 1, IsPort = 1 };
        _vm.Call($"Gathering the writes to port 0x{port:x}", KvmRequest.RegisterCoalescedZone, ref zone);
        if (!_isUsed)
        {
            _isUsed = true;
            Arm();
        }
    }

    /// <summary>Carries out what has been gathered.</summary>
    internal void Flush(IVirtualProcessor vp)
    {
        // The place of the first moves on when its write has been carried out: whoever finds none here comes after them.
        if (Volatile.Read(ref _ring->First) != Volatile.Read(ref _ring->Last))
        {
            FlushAll(vp);
        }
    }

    public void Dispose()
    {
        _timer.Disarm();
        lock (_gate)
        {
            _isDisposed = true;
        }
    }

    private void FlushAll(IVirtualProcessor vp)
    {
        lock (_gate)
        {
            for (var first = _ring->First % Entries; first != Volatile.Read(ref _ring->Last); Volatile.Write(ref _ring->First, first))
            {
                ref var write = ref ((KvmCoalescedWrite*)(_ring + 1))[first];
                _options.Intercepts.WritePort(vp, (ushort)write.Address, 1, (byte)write.Data);
                first = (first + 1) % Entries;
            }
        }
    }

    private void OnTimer()
    {
        // It may have been chosen to run just before the machine was taken down.
        lock (_gate)
        {
            if (!_isDisposed)
            {
                FlushAll(_first);
                Arm();
            }
        }
    }

    private void Arm() => _timer.Arm(_options.Clock.Nanoseconds + (SlowestFlushMilliseconds * 1_000_000L));
}
