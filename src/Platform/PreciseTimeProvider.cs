using System.Diagnostics;

namespace Vitro.Platform;

/// <summary>
/// The system's time with timers of microsecond precision: each timer is a timerfd with a thread of its own, where the
/// runtime's own timers round to milliseconds.
/// </summary>
/// <remarks>Meant for the few long-lived timers of a virtual machine, one a clock, not for timers by the thousand.</remarks>
public sealed class PreciseTimeProvider : TimeProvider
{
    /// <summary>The shared instance.</summary>
    public static PreciseTimeProvider Instance { get; } = new();

    /// <inheritdoc/>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new TimerFile(callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class TimerFile : ITimer
    {
        private readonly int _fd;
        private readonly TimerCallback _callback;
        private readonly object? _state;
        private readonly Thread _thread;
        private volatile bool _disposed;

        internal TimerFile(TimerCallback callback, object? state)
        {
            _callback = callback;
            _state = state;
            _fd = Libc.TimerfdCreate(Libc.ClockMonotonic, Libc.TfdCloexec);
            if (_fd < 0)
            {
                throw PlatformException.Last("timerfd_create");
            }

            _thread = new Thread(Run) { IsBackground = true, Name = "vm-timer" };
            _thread.Start();
        }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (_disposed)
            {
                return false;
            }

            Arm(dueTime, period);
            return true;
        }

        public void Dispose()
        {
            if (!_disposed)
            {
                _disposed = true;
                Arm(TimeSpan.Zero, Timeout.InfiniteTimeSpan); // the thread wakes, sees the flag and closes the file
                if (Thread.CurrentThread != _thread)
                {
                    _thread.Join();
                }
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        private void Arm(TimeSpan dueTime, TimeSpan period)
        {
            Libc.Itimerspec value = default;
            if (dueTime >= TimeSpan.Zero)
            {
                // A zero timerfd value would disarm it: due now is due in a nanosecond.
                var ticks = Math.Max(0, dueTime.Ticks);
                value.Seconds = ticks / TimeSpan.TicksPerSecond;
                value.Nanoseconds = (ticks % TimeSpan.TicksPerSecond * 100) + (ticks == 0 ? 1 : 0);
                if (period > TimeSpan.Zero)
                {
                    value.IntervalSeconds = period.Ticks / TimeSpan.TicksPerSecond;
                    value.IntervalNanoseconds = period.Ticks % TimeSpan.TicksPerSecond * 100;
                }
            }

            var result = Libc.TimerfdSettime(_fd, 0, in value, 0);
            Debug.Assert(result == 0, "timerfd_settime takes every normalised value");
        }

        private void Run()
        {
            ulong expirations = 0;
            while (true)
            {
                var got = Libc.Read(_fd, ref expirations, sizeof(ulong));
                if (_disposed)
                {
                    _ = Libc.Close(_fd);
                    return;
                }

                if (got == sizeof(ulong))
                {
                    _callback(_state);
                }
            }
        }
    }
}
