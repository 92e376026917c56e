namespace Vitro.Foundation;

/// <summary>A one-shot timer on a <see cref="VmClock"/>.</summary>
/// <remarks>
/// Thread-safe. A callback that had already been chosen when <see cref="Disarm"/> was called may still run once; devices
/// check their own state under their own lock in the callback.
/// </remarks>
public sealed class VmTimer
{
    private readonly VmClock _clock;

    internal VmTimer(VmClock clock, Action callback)
    {
        _clock = clock;
        Callback = callback;
    }

    /// <summary>Whether the timer will fire.</summary>
    public bool IsArmed { get; internal set; }

    /// <summary>The deadline last set, in nanoseconds of the clock.</summary>
    public long Deadline { get; internal set; }

    internal Action Callback { get; }

    internal ulong Generation { get; set; }

    /// <summary>Arms the timer for an absolute time of its clock in nanoseconds; a time in the past fires at once.</summary>
    public void Arm(long deadlineNanoseconds) => _clock.Arm(this, deadlineNanoseconds);

    /// <summary>Disarms the timer.</summary>
    public void Disarm() => _clock.Disarm(this);
}
