using System.Threading.Tasks.Sources;
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
