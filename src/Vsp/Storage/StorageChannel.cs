using System.Collections.Concurrent;
using Vitro.VmBus;

namespace Vitro.Vsp.Storage;

/// <summary>An open channel of a storage controller: its pool of requests and the count of those in flight.</summary>
/// <remarks>Requests are taken on the channel's thread and come back on any.</remarks>
internal sealed class StorageChannel(StorageController controller, IVmBusChannel channel)
{
    /// <summary>Requests in flight at most. Further ones wait in the guest's ring.</summary>
    internal const int Depth = 512;

    private readonly ConcurrentStack<StorageRequest> _free = new();
    private readonly object _gate = new();
    private StorageRequest? _spare;
    private int _inFlight;
    private volatile bool _starved;

    internal StorageController Controller { get; } = controller;

    internal IVmBusChannel Channel { get; } = channel;

    /// <summary>Held while requests are taken, so that stopping can tell when that has ended.</summary>
    internal Lock BatchGate { get; } = new();

    internal int InFlight => Volatile.Read(ref _inFlight);

    /// <summary>Whether another request may be taken; when not, the channel is woken once there is room.</summary>
    internal bool HasRoom()
    {
        if (InFlight < Depth)
        {
            return true;
        }

        _starved = true;
        Interlocked.MemoryBarrier();
        return InFlight < Depth;
    }

    internal StorageRequest Take()
    {
        Interlocked.Increment(ref _inFlight);
        return Interlocked.Exchange(ref _spare, null) ?? (_free.TryPop(out var request) ? request : new StorageRequest(this));
    }

    internal void Return(StorageRequest request)
    {
        // The stack makes a node for each entry; one request at a time, the usual case, needs none.
        if (Interlocked.CompareExchange(ref _spare, request, null) is not null)
        {
            _free.Push(request);
        }

        var left = Interlocked.Decrement(ref _inFlight);
        if (_starved)
        {
            _starved = false;
            Channel.Wake();
        }

        if (left == 0)
        {
            lock (_gate)
            {
                Monitor.PulseAll(_gate);
            }
        }
    }

    /// <summary>Waits until no request is in flight.</summary>
    internal void Drain()
    {
        lock (_gate)
        {
            while (InFlight > 0)
            {
                Monitor.Wait(_gate);
            }
        }
    }
}
