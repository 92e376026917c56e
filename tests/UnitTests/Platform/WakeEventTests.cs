using Vitro.Platform;
using Xunit;

namespace Vitro.UnitTests.Platform;

public sealed class WakeEventTests
{
    [Fact]
    public void Wake_ups_before_the_wait_are_one()
    {
        using var wake = new WakeEvent();
        wake.Set();
        wake.Set();
        wake.Wait();

        var second = new Thread(wake.Wait) { IsBackground = true };
        second.Start();
        wake.Set();
        Assert.True(second.Join(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void A_wait_for_a_while_takes_a_wake_up_that_was_given()
    {
        using var wake = new WakeEvent();
        Assert.False(wake.TryWait(milliseconds: 0));
        wake.Set();
        Assert.True(wake.TryWait(milliseconds: 30_000));
        Assert.False(wake.TryWait(milliseconds: 0));
    }

    [Fact]
    public void Setting_one_that_was_taken_down_does_nothing()
    {
        var wake = new WakeEvent();
        wake.Dispose();

        wake.Set();
    }
}
