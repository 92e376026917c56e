using Vitro.Storage.Sparse;

namespace Vitro.Storage.Tracking;

/// <summary>Who is told of a disk's changes, and a way to hold them up for a moment.</summary>
/// <remarks>Thread-safe. A change costs two counters and two reads when nobody observes.</remarks>
internal sealed class ChangeControl
{
    private readonly object _gate = new();
    private readonly object _resumed = new();
    private IChangeObserver[] _observers = [];
    private volatile bool _paused;

    /// <summary>Requests are in an epoch while they use the disk.</summary>
    internal RequestEpochs Epochs { get; } = new();

    /// <summary>Held by whoever turns the epochs.</summary>
    internal object TurnGate { get; } = new();

    /// <summary>Enters an epoch for a change; waits while changes are held up.</summary>
    internal int Enter()
    {
        while (true)
        {
            var epoch = Epochs.Enter();

            // After entering, which is a full fence: either this sees the pause, or the pause's drain sees this request.
            if (!_paused)
            {
                return epoch;
            }

            Epochs.Exit(epoch);
            lock (_resumed)
            {
                while (_paused)
                {
                    Monitor.Wait(_resumed);
                }
            }
        }
    }

    /// <summary>Tells the observers of a change that is about to begin; the caller has entered.</summary>
    internal void Announce(long offset, long length)
    {
        foreach (var observer in Volatile.Read(ref _observers))
        {
            observer.BeforeChange(offset, length);
        }
    }

    internal void Exit(int epoch) => Epochs.Exit(epoch);

    /// <summary>From now on changes are announced to the observer.</summary>
    internal void Add(IChangeObserver observer)
    {
        lock (_gate)
        {
            Volatile.Write(ref _observers, [.. _observers, observer]);
        }
    }

    /// <summary>Changes that begin later are not announced to the observer any more; <see cref="Drain"/> waits for the others.</summary>
    internal void Remove(IChangeObserver observer)
    {
        lock (_gate)
        {
            Volatile.Write(ref _observers, Array.FindAll(_observers, other => !ReferenceEquals(other, observer)));
        }
    }

    /// <summary>Runs something at a moment at which every change is either complete or has not begun. Reads go on.</summary>
    internal void AtRest(Action act)
    {
        lock (_gate)
        {
            _paused = true;
            try
            {
                Drain();
                act();
            }
            finally
            {
                lock (_resumed)
                {
                    _paused = false;
                    Monitor.PulseAll(_resumed);
                }
            }
        }
    }

    /// <summary>Waits until every request that has begun is over; new ones may begin meanwhile.</summary>
    internal void Drain()
    {
        lock (TurnGate)
        {
            var wait = default(SpinWait);
            for (var turns = 0; turns < 2;)
            {
                if (Epochs.PreviousIsOver())
                {
                    Epochs.Turn();
                    turns++;
                }
                else
                {
                    wait.SpinOnce();
                }
            }

            while (!Epochs.PreviousIsOver())
            {
                wait.SpinOnce();
            }
        }
    }
}
