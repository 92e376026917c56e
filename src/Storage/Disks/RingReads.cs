using Vitro.Platform;

namespace Vitro.Storage.Disks;

/// <summary>Reads that wait for the storage in an io_uring, driven by one thread; where the host has none, threads wait instead.</summary>
/// <remarks>
/// <para>Only reads are better off here: a read of what is not cached needs no thread of its own to wait on, and many are submitted
/// and completed with one system call. Buffered writes are copied by the caller at once, and a sync takes a thread of the kernel's
/// in a ring too. What the ring does not finish (a short read, an error, a read that ended with its thread) is done again on a
/// thread, which finds the right words.</para>
/// <para>Whoever awaits a read goes on in the driving thread, for a change of threads would cost what the ring saves. Should it
/// block there, a watch notices that nothing moves and gives the ring to a new thread; the old one leaves once it is free again.</para>
/// </remarks>
internal static class RingReads
{
    /// <summary>Longest read that is better off here: of longer ones most of the time is their copying, which one thread does worse than many.</summary>
    internal const int Longest = 16 << 10;

    private const int Slots = 127;

    private static readonly TimeSpan WatchInterval = TimeSpan.FromMilliseconds(20);
    private static readonly object Gate = new();
    private static readonly BlockRequest?[] Active = new BlockRequest?[Slots];
    private static readonly Stack<int> Free = new(Enumerable.Range(0, Slots));
    private static IoRing? _ring;
    private static BlockRequest? _head;
    private static BlockRequest? _tail;
    private static bool _started;
    private static bool _sleeping;
    private static bool _watching;
    private static bool _continuing;
    private static int _inFlight;
    private static int _driver;
    private static long _completions;

    /// <summary>Takes over a read whose place is known; false when there is no ring, or not yet.</summary>
    internal static bool TryQueue(BlockRequest request)
    {
        IoRing ring;
        lock (Gate)
        {
            if (_ring is null)
            {
                if (!_started)
                {
                    _started = true;
                    Start(Open, "storage-ring");
                }

                return false;
            }

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
            _inFlight++;
            if (!_watching)
            {
                _watching = true;
                Monitor.Pulse(Gate);
            }

            if (!_sleeping)
            {
                return true;
            }

            _sleeping = false;
            ring = _ring;
        }

        ring.Wake();
        return true;
    }

    private static void Start(Action work, string name) => new Thread(() => work()) { IsBackground = true, Name = name }.Start();

    private static void Open()
    {
        if (IoRing.TryCreate(Slots) is not { } ring)
        {
            return;
        }

        lock (Gate)
        {
            _ring = ring;
        }

        Start(Watch, "storage-ring-watch");
        Drive(ring, driver: 0);
    }

    private static void Drive(IoRing ring, int driver)
    {
        while (true)
        {
            var taken = false;
            while (Free.Count > 0 && Take() is { } request)
            {
                taken = true;
                var slot = Free.Pop();
                if (request.PrepareIn(ring, slot))
                {
                    Active[slot] = request;
                }
                else
                {
                    Free.Push(slot);
                    if (!Leave(request, done: false, driver))
                    {
                        return;
                    }
                }
            }

            ring.Enter(wait: !taken && MaySleep());
            while (ring.TryReap(out var slot, out var result))
            {
                var request = Active[slot]!;
                Active[slot] = null;
                Free.Push(slot);
                if (!Leave(request, done: result == request.Length, driver))
                {
                    return;
                }
            }
        }
    }

    /// <summary>Ends a request, in which whoever awaits it goes on; false when another thread has got the ring meanwhile.</summary>
    private static bool Leave(BlockRequest request, bool done, int driver)
    {
        lock (Gate)
        {
            _completions++;
            _continuing = true;
        }

        request.LeaveRing(done);
        lock (Gate)
        {
            if (_driver != driver)
            {
                return false;
            }

            _continuing = false;
            _inFlight--;
            return true;
        }
    }

    private static BlockRequest? Take()
    {
        lock (Gate)
        {
            _sleeping = false;
            var request = _head;
            if (request is not null)
            {
                _head = request.Next;
                _tail = _head is null ? null : _tail;
            }

            return request;
        }
    }

    // With all slots taken only completions matter, and they end the wait by themselves.
    private static bool MaySleep()
    {
        lock (Gate)
        {
            _sleeping = _head is null;
            return _sleeping || Free.Count == 0;
        }
    }

    // The same continuation at two looks in a row: it holds up the driver.
    private static void Watch()
    {
        while (true)
        {
            lock (Gate)
            {
                while (!_watching)
                {
                    Monitor.Wait(Gate);
                }

                var before = _completions;
                Monitor.Wait(Gate, WatchInterval);
                if (_inFlight == 0)
                {
                    _watching = false;
                }

                if (!_continuing || _completions != before)
                {
                    continue;
                }

                // The old driver touches nothing more of the ring, so what it did is counted here.
                _continuing = false;
                _inFlight--;
                _driver++;
            }

            var (ring, driver) = (_ring!, _driver);
            Start(() => Drive(ring, driver), "storage-ring");
        }
    }
}
