using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Foundation;

public sealed class VmClockTests
{
    private readonly FakeTimeProvider _time = new();

    [Fact]
    public void Timers_fire_in_the_order_of_their_deadlines()
    {
        using var clock = new VmClock(_time);
        var fired = new List<string>();
        var late = clock.CreateTimer(() => fired.Add("late"));
        var early = clock.CreateTimer(() => fired.Add("early"));
        late.Arm(2_000_000);
        early.Arm(1_000_000);

        _time.Advance(TimeSpan.FromMilliseconds(3));

        Assert.Equal(["early", "late"], fired);
    }

    [Fact]
    public void A_disarmed_timer_does_not_fire()
    {
        using var clock = new VmClock(_time);
        var fired = 0;
        var timer = clock.CreateTimer(() => fired++);
        timer.Arm(1_000_000);
        timer.Disarm();

        _time.Advance(TimeSpan.FromMilliseconds(3));

        Assert.Equal(0, fired);
    }

    [Fact]
    public void Time_stands_still_while_paused_and_timers_wait()
    {
        using var clock = new VmClock(_time);
        var fired = 0;
        clock.CreateTimer(() => fired++).Arm(2_000_000);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        clock.Pause();
        _time.Advance(TimeSpan.FromSeconds(10));
        Assert.Equal(1_000_000, clock.Nanoseconds);
        Assert.Equal(0, fired);

        clock.Resume();
        _time.Advance(TimeSpan.FromMilliseconds(1));

        Assert.Equal(1, fired);
        Assert.Equal(2_000_000, clock.Nanoseconds);
    }

    [Fact]
    public void A_reference_time_from_elsewhere_counts_for_deadlines_and_is_where_a_pause_stands()
    {
        using var clock = new VmClock(_time);
        var reference = 5_000UL;
        clock.FollowReference(() => reference);
        Assert.Equal(5_000UL, clock.ReferenceTime);
        Assert.Equal(100_000, clock.AtReference(6_000));

        clock.Pause();
        reference = 9_000;
        Assert.Equal(500_000, clock.Nanoseconds);
        Assert.Equal(5_000UL, clock.ReferenceTime);

        clock.FollowReference(null);
        clock.Resume();
        Assert.Equal(5_000UL, clock.ReferenceTime);
        Assert.Equal(600_000, clock.AtReference(6_000));
    }

    [Fact]
    public void Rearming_without_end_keeps_the_last_deadline_only()
    {
        using var clock = new VmClock(_time);
        var fired = 0;
        var timer = clock.CreateTimer(() => fired++);
        for (var i = 0; i < 5000; i++)
        {
            timer.Arm(1_000_000_000L + i);
        }

        _time.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal(1, fired);
    }
}
