using Vitro.Platform;

namespace Vitro.SystemTests;

/// <summary>The host's time with its wall clock set off: a machine restored by it believes that it was away for so long.</summary>
internal sealed class ShiftedTime(TimeSpan shift) : TimeProvider
{
    public override long TimestampFrequency => PreciseTimeProvider.Instance.TimestampFrequency;

    public override long GetTimestamp() => PreciseTimeProvider.Instance.GetTimestamp();

    public override DateTimeOffset GetUtcNow() => PreciseTimeProvider.Instance.GetUtcNow() + shift;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        PreciseTimeProvider.Instance.CreateTimer(callback, state, dueTime, period);
}
