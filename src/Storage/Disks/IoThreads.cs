namespace Vitro.Storage.Disks;

/// <summary>The threads on which requests wait for the storage; they come with demand and leave when idle.</summary>
/// <remarks>The runtime's own pool has about as many threads as processors, too few to keep a storage device's queue full.</remarks>
internal static class IoThreads
{
    private const int Limit = 32;

    private static readonly TimeSpan IdleLimit = TimeSpan.FromSeconds(10);
    private static readonly object Gate = new();
    private static BlockRequest? _head;
    private static BlockRequest? _tail;
    private static int _threads;
    private static int _idle;

    internal static void Queue(BlockRequest request)
    {
        bool start;
        lock (Gate)
        {
            request.Next = null;
            if (_tail is null)
            {
                _head = request;
            }
            else
            {
                _tail.Next = request;
            }

            _tail = request;
            start = _idle == 0 && _threads < Limit;
            if (start)
            {
                _threads++;
            }
            else
            {
                Monitor.Pulse(Gate);
            }
        }

        if (start)
        {
            new Thread(Run) { IsBackground = true, Name = "storage-io" }.Start();
        }
    }

    /// <summary>Takes a request out of the queue again; false when a thread has begun it.</summary>
    internal static bool TryTakeBack(BlockRequest request)
    {
        lock (Gate)
        {
            BlockRequest? before = null;
            for (var at = _head; at is not null; before = at, at = at.Next)
            {
                if (!ReferenceEquals(at, request))
                {
                    continue;
                }

                if (before is null)
                {
                    _head = at.Next;
                }
                else
                {
                    before.Next = at.Next;
                }

                if (ReferenceEquals(_tail, at))
                {
                    _tail = before;
                }

                return true;
            }

            return false;
        }
    }

    private static void Run()
    {
        while (true)
        {
            BlockRequest request;
            lock (Gate)
            {
                while (_head is null)
                {
                    _idle++;
                    var pulsed = Monitor.Wait(Gate, IdleLimit);
                    _idle--;
                    if (!pulsed && _head is null)
                    {
                        _threads--;
                        return;
                    }
                }

                request = _head;
                _head = request.Next;
                if (_head is null)
                {
                    _tail = null;
                }
            }

            request.Execute();
        }
    }
}
