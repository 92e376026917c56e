using System.Diagnostics;

namespace Vitro.Foundation;

/// <summary>
/// The clock of one virtual machine: nanoseconds of running time since the partition was created, which stand still
/// while the machine is paused, and one-shot timers against them.
/// </summary>
/// <remarks>
/// Thread-safe. Callbacks run on the time provider's timer thread with no lock held, one at a time and in order of their
/// deadlines; they must be short. With a stepped <see cref="TimeProvider"/> everything is deterministic.
/// </remarks>
public sealed class VmClock : IDisposable
{
    // A guest may re-arm a timer without end; entries it has left behind are swept before the queue grows past this.
    private const int CompactAbove = 1024;

    private readonly TimeProvider _timeProvider;
    private readonly Lock _gate = new();
    private readonly PriorityQueue<(VmTimer Timer, ulong Generation), long> _deadlines = new();
    private readonly ITimer _wakeUp;
    private readonly double _nanosecondsPerTick;
    private readonly bool _ticksAreNanoseconds;
    private readonly bool _isStopwatch;
    private readonly long _firstTick;
    private long _origin;
    private long _pausedAt = -1;
    private long _armedFor = long.MaxValue;
    private Func<ulong>? _reference;

    /// <summary>Creates a running clock at zero.</summary>
    public VmClock(TimeProvider timeProvider)
    {
        _timeProvider = timeProvider;
        _ticksAreNanoseconds = timeProvider.TimestampFrequency == 1_000_000_000;
        _nanosecondsPerTick = 1e9 / timeProvider.TimestampFrequency;
        var before = Stopwatch.GetTimestamp();
        _firstTick = timeProvider.GetTimestamp();
        _isStopwatch = _ticksAreNanoseconds && Stopwatch.Frequency == 1_000_000_000 && before <= _firstTick && _firstTick <= Stopwatch.GetTimestamp();
        _wakeUp = timeProvider.CreateTimer(static state => ((VmClock)state!).RunExpired(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Nanoseconds of running time since the partition was created.</summary>
    public long Nanoseconds
    {
        get
        {
            var paused = Volatile.Read(ref _pausedAt);
            return paused >= 0 ? paused : HostNanoseconds() - Volatile.Read(ref _origin);
        }
    }

    /// <summary>
    /// What <see cref="Stopwatch.GetTimestamp"/> was when the clock was at zero, in nanoseconds: valid until the clock is paused. Null while it is
    /// paused, or counts something else.
    /// </summary>
    public long? MonotonicOrigin => _isStopwatch && Volatile.Read(ref _pausedAt) < 0 ? _firstTick + Volatile.Read(ref _origin) : null;

    /// <summary>The partition reference time in units of 100 ns (TLFS, "Partition Reference Time").</summary>
    public ulong ReferenceTime
    {
        get
        {
            var paused = Volatile.Read(ref _pausedAt);
            return paused < 0 && Volatile.Read(ref _reference) is { } reference ? reference() : (ulong)(paused < 0 ? Nanoseconds : paused) / 100;
        }
    }

    /// <summary>The host's wall clock, which a guest reads through the RTC and time synchronisation.</summary>
    public DateTimeOffset WallClock => _timeProvider.GetUtcNow();

    /// <summary>Whether the clock stands still.</summary>
    public bool IsPaused => Volatile.Read(ref _pausedAt) >= 0;

    /// <summary>Creates a timer that is not armed.</summary>
    public VmTimer CreateTimer(Action callback) => new(this, callback);

    /// <summary>
    /// Has the reference time come from elsewhere while the clock runs, for engines that keep it themselves; null takes that back. The
    /// two drift apart by what the host's clock is corrected, until a pause, from which on the clock stands where the reference time stood.
    /// </summary>
    /// <param name="source">The reference time in units of 100 ns; called on any thread.</param>
    public void FollowReference(Func<ulong>? source) => Volatile.Write(ref _reference, source);

    /// <summary>The clock's time, in nanoseconds, at which the reference time will be so much.</summary>
    /// <param name="referenceTime">Units of 100 ns, at most a two-hundredth of <see cref="long.MaxValue"/>.</param>
    public long AtReference(ulong referenceTime) =>
        Volatile.Read(ref _reference) is null ? (long)referenceTime * 100 : Nanoseconds + (((long)referenceTime - (long)ReferenceTime) * 100);

    /// <summary>Stops time; timers do not fire.</summary>
    public void Pause()
    {
        lock (_gate)
        {
            if (_pausedAt < 0)
            {
                var now = _reference is { } reference ? (long)reference() * 100 : HostNanoseconds() - _origin;
                Volatile.Write(ref _pausedAt, now);
                Rearm();
            }
        }
    }

    /// <summary>Lets time go on from where it stood.</summary>
    public void Resume()
    {
        lock (_gate)
        {
            if (_pausedAt >= 0)
            {
                Volatile.Write(ref _origin, HostNanoseconds() - _pausedAt);
                Volatile.Write(ref _pausedAt, -1);
                Rearm();
            }
        }
    }

    /// <summary>Sets the running time of a paused clock, as restoring a saved machine does.</summary>
    /// <exception cref="InvalidOperationException">The clock runs.</exception>
    public void SetNanoseconds(long nanoseconds)
    {
        lock (_gate)
        {
            if (_pausedAt < 0)
            {
                throw new InvalidOperationException("The clock must be paused before its time can be set.");
            }

            Volatile.Write(ref _pausedAt, nanoseconds);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _wakeUp.Dispose();

    internal void Arm(VmTimer timer, long deadline)
    {
        lock (_gate)
        {
            timer.Generation++;
            timer.Deadline = deadline;
            timer.IsArmed = true;
            if (_deadlines.Count >= CompactAbove)
            {
                Compact();
            }

            _deadlines.Enqueue((timer, timer.Generation), deadline);
            Rearm();
        }
    }

    internal void Disarm(VmTimer timer)
    {
        lock (_gate)
        {
            // The queue entry stays until it surfaces; its generation no longer matches.
            timer.Generation++;
            timer.IsArmed = false;
        }
    }

    private long HostNanoseconds()
    {
        var ticks = _timeProvider.GetTimestamp() - _firstTick;
        return _ticksAreNanoseconds ? ticks : (long)(ticks * _nanosecondsPerTick);
    }

    private void RunExpired()
    {
        while (true)
        {
            VmTimer due;
            lock (_gate)
            {
                _armedFor = long.MaxValue;
                DropStale();
                if (_pausedAt >= 0 || !_deadlines.TryPeek(out var head, out var deadline) || deadline > Nanoseconds)
                {
                    Rearm();
                    return;
                }

                _deadlines.Dequeue();
                due = head.Timer;
                due.IsArmed = false;
            }

            due.Callback();
        }
    }

    private void Compact()
    {
        var live = _deadlines.UnorderedItems.Where(item => item.Element.Generation == item.Element.Timer.Generation).ToArray();
        _deadlines.Clear();
        _deadlines.EnqueueRange(live);
    }

    private void DropStale()
    {
        while (_deadlines.TryPeek(out var head, out _) && head.Generation != head.Timer.Generation)
        {
            _deadlines.Dequeue();
        }
    }

    private void Rearm()
    {
        DropStale();
        if (_pausedAt >= 0 || !_deadlines.TryPeek(out _, out var deadline))
        {
            if (_armedFor != long.MaxValue)
            {
                _armedFor = long.MaxValue;
                _wakeUp.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            }

            return;
        }

        if (deadline == _armedFor)
        {
            return;
        }

        _armedFor = deadline;
        var wait = Math.Max(0, deadline - Nanoseconds);
        // TimeSpan counts 100 ns; rounding up keeps a wake-up from coming early and spinning.
        _wakeUp.Change(TimeSpan.FromTicks(Math.Min((wait + 99) / 100, TimeSpan.TicksPerDay)), Timeout.InfiniteTimeSpan);
    }
}
