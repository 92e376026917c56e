using System.Threading.Tasks.Sources;
using Vitro.Platform;
using Vitro.Storage.Files;

namespace Vitro.Storage.Disks;

/// <summary>A request that waits for the storage on an I/O thread; used again after its completion, so that none is allocated.</summary>
internal sealed class BlockRequest : IValueTaskSource
{
    private const int PoolLimit = 256;

    private static readonly object PoolGate = new();
    private static BlockRequest? _pool;
    private static int _pooled;

    private ManualResetValueTaskSourceCore<bool> _completion;
    private VirtualDisk? _disk;
    private Operation _operation;
    private long _offset;
    private long _length;
    private BufferSlice _buffers;
    private HostFile? _place;
    private long _placeOffset;
    private int _epoch;

    /// <summary>What the request does.</summary>
    internal enum Operation
    {
        Read,
        Write,
        WriteThrough,
        Flush,
        Trim,
        Zero,
    }

    /// <summary>The next in a queue or in the pool.</summary>
    internal BlockRequest? Next { get; set; }

    /// <summary>The request's completion, to be awaited once.</summary>
    internal ValueTask Task => new(this, _completion.Version);

    internal static ValueTask Start(VirtualDisk disk, Operation operation, long offset, long length, in BufferSlice buffers)
    {
        var request = Prepare(disk, operation, offset, length, buffers);
        var task = request.Task;
        IoThreads.Queue(request);
        return task;
    }

    /// <summary>A read that must wait for the storage: in the ring when it is short and in one place of a host's file, else on a thread.</summary>
    internal static ValueTask StartRead(VirtualDisk disk, long offset, in BufferSlice target)
    {
        var request = Prepare(disk, Operation.Read, offset, target.Length, target);
        var task = request.Task;
        if (target.Length <= RingReads.Longest && request.TryFindPlace())
        {
            if (RingReads.TryQueue(request))
            {
                return task;
            }

            request.ForgetPlace();
        }

        IoThreads.Queue(request);
        return task;
    }

    /// <summary>A request that is yet to be queued.</summary>
    internal static BlockRequest Prepare(VirtualDisk disk, Operation operation, long offset, long length, in BufferSlice buffers)
    {
        var request = Rent();
        request._disk = disk;
        request._operation = operation;
        request._offset = offset;
        request._length = length;
        request._buffers = buffers;
        return request;
    }

    /// <summary>Gives up a request that is not queued and whose completion nobody awaits.</summary>
    internal void Abandon()
    {
        _disk = null;
        _buffers = default;
        Return(this);
    }

    /// <summary>Bytes.</summary>
    internal long Length => _length;

    /// <summary>Prepares the read in a slot of the ring; false when it does not fit.</summary>
    internal bool PrepareIn(IoRing ring, int slot) =>
        ring.TryPrepareRead(slot, _place!, _placeOffset, _buffers.Buffers.Span, _buffers.Skip, (int)_length);

    /// <summary>The ring is done with the read: it is complete, or to be done on a thread after all.</summary>
    internal void LeaveRing(bool done)
    {
        ForgetPlace();
        if (done)
        {
            _completion.SetResult(true);
        }
        else
        {
            IoThreads.Queue(this);
        }
    }

    private bool TryFindPlace()
    {
        _epoch = _disk!.Changes.Epochs.Enter();
        try
        {
            if (_disk.TryLocate(_offset, (int)_length, out var file, out _placeOffset) && file is HostDiskFile { Host: var host })
            {
                _place = host;
                return true;
            }
        }
        catch (IOException)
        {
            // The thread that does the read meets it too, and says so to whoever awaits it.
        }

        _disk.Changes.Epochs.Exit(_epoch);
        return false;
    }

    private void ForgetPlace()
    {
        _place = null;
        _disk!.Changes.Epochs.Exit(_epoch);
    }

    internal void Execute()
    {
        try
        {
            var disk = _disk!;
            switch (_operation)
            {
                case Operation.Read:
                    disk.Read(_offset, _buffers, cachedOnly: false);
                    break;
                case Operation.Write:
                case Operation.WriteThrough:
                    disk.Write(_offset, _buffers, durable: _operation == Operation.WriteThrough);
                    break;
                case Operation.Flush:
                    disk.Flush();
                    break;
                case Operation.Trim:
                    disk.Trim(_offset, _length);
                    break;
                default:
                    disk.Zero(_offset, _length);
                    break;
            }
        }
        catch (Exception error)
        {
            _completion.SetException(error);
            return;
        }

        _completion.SetResult(true);
    }

    public void GetResult(short token)
    {
        try
        {
            _completion.GetResult(token);
        }
        finally
        {
            _completion.Reset();
            Abandon();
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _completion.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _completion.OnCompleted(continuation, state, token, flags);

    private static BlockRequest Rent()
    {
        lock (PoolGate)
        {
            if (_pool is { } request)
            {
                _pool = request.Next;
                _pooled--;
                return request;
            }
        }

        return new BlockRequest();
    }

    private static void Return(BlockRequest request)
    {
        lock (PoolGate)
        {
            if (_pooled < PoolLimit)
            {
                request.Next = _pool;
                _pool = request;
                _pooled++;
            }
        }
    }
}
