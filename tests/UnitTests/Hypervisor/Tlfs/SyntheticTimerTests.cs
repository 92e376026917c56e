using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class SyntheticTimerTests : IDisposable
{
    private const uint Config = 0x4000_00B0;
    private const uint Count = 0x4000_00B1;
    private const ulong Slot = TlfsFixture.MessagePage + 0x200;

    // Enable, auto-enable, direct mode with Linux's vector.
    private const ulong DirectOneShot = 0x1 | 0x8 | 0x1000 | (0xEDUL << 4);
    private const ulong DirectPeriodic = 0x1 | 0x2 | 0x1000 | (0xEDUL << 4);
    private const ulong MessageOneShot = 0x1 | 0x8 | (2UL << 16);
    private readonly TlfsFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void A_one_shot_timer_fires_once_at_its_time()
    {
        _fixture.Write(Config, DirectOneShot, vp: 1);
        _fixture.Write(Count, 10_000, vp: 1);
        _fixture.Time.Advance(TimeSpan.FromMicroseconds(999));
        Assert.Empty(_fixture.Raised);

        _fixture.Time.Advance(TimeSpan.FromMilliseconds(50));

        Assert.Equal([(1, (byte)0xED, false)], _fixture.Raised);
        Assert.Equal(0UL, _fixture.Read(Config, vp: 1) & 1);
    }

    [Fact]
    public void Writing_the_count_arms_an_auto_enabled_timer_again()
    {
        _fixture.Write(Config, DirectOneShot);
        for (var i = 1; i <= 3; i++)
        {
            _fixture.Write(Count, _fixture.Read(0x4000_0020) + 10_000);
            _fixture.Time.Advance(TimeSpan.FromMilliseconds(2));
            Assert.Equal(i, _fixture.Raised.Count);
        }
    }

    [Fact]
    public void A_time_in_the_past_fires_at_once()
    {
        _fixture.Time.Advance(TimeSpan.FromSeconds(1));
        _fixture.Write(Config, DirectOneShot);

        _fixture.Write(Count, 1);

        Assert.Single(_fixture.Raised);
    }

    [Fact]
    public void Writing_a_count_of_zero_stops_the_timer()
    {
        _fixture.Write(Config, DirectOneShot);
        _fixture.Write(Count, 10_000);

        _fixture.Write(Count, 0);
        _fixture.Time.Advance(TimeSpan.FromSeconds(1));

        Assert.Empty(_fixture.Raised);
        Assert.Equal(0UL, _fixture.Read(Config) & 1);
    }

    [Fact]
    public void A_periodic_timer_fires_at_each_period()
    {
        _fixture.Write(Count, 10_000);
        _fixture.Write(Config, DirectPeriodic);

        for (var i = 0; i < 10; i++)
        {
            _fixture.Time.Advance(TimeSpan.FromMilliseconds(1));
        }

        Assert.Equal(10, _fixture.Raised.Count);
    }

    [Fact]
    public void Ticks_that_were_missed_are_not_made_up_for()
    {
        _fixture.Write(Count, 10_000);
        _fixture.Write(Config, DirectPeriodic);

        _fixture.Clock.Pause();
        _fixture.Clock.SetNanoseconds(5_500_000);
        _fixture.Clock.Resume();
        _fixture.Time.Advance(TimeSpan.FromMilliseconds(0.1));
        _fixture.Time.Advance(TimeSpan.FromMilliseconds(0.5));

        Assert.Equal(2, _fixture.Raised.Count);
    }

    [Fact]
    public void A_period_of_almost_nothing_does_not_drown_the_host()
    {
        _fixture.Write(Count, 1);
        _fixture.Write(Config, DirectPeriodic);

        _fixture.Time.Advance(TimeSpan.FromMilliseconds(0.1));

        Assert.Empty(_fixture.Raised);
    }

    [Fact]
    public void A_timer_in_message_mode_sends_its_message()
    {
        _fixture.EnableSynic();
        _fixture.Write(Config, MessageOneShot);
        _fixture.Write(Count, 10_000);

        _fixture.Time.Advance(TimeSpan.FromMilliseconds(1));

        Assert.Equal(0x8000_0010u, _fixture.ReadUInt32(Slot));
        Assert.Equal(24u, _fixture.ReadUInt32(Slot + 4));
        Assert.Equal(0u, _fixture.ReadUInt32(Slot + 16));
        Assert.Equal(10_000UL, _fixture.ReadUInt64(Slot + 24));
        Assert.Equal(10_000UL, _fixture.ReadUInt64(Slot + 32));
        Assert.Equal([(0, TlfsFixture.Vector, false)], _fixture.Raised);
    }

    [Fact]
    public void A_timer_message_waits_for_its_slot_and_tells_when_it_was_delivered()
    {
        _fixture.EnableSynic();
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        _fixture.Write(Config, MessageOneShot);
        _fixture.Write(Count, 10_000);
        _fixture.Time.Advance(TimeSpan.FromMilliseconds(3));

        _fixture.WriteUInt32(Slot, 0);
        _fixture.Write(0x4000_0084, 0);

        Assert.Equal(10_000UL, _fixture.ReadUInt64(Slot + 24));
        Assert.Equal(30_000UL, _fixture.ReadUInt64(Slot + 32));
    }

    [Fact]
    public void Disabling_a_timer_takes_its_waiting_message_back()
    {
        _fixture.EnableSynic();
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        _fixture.Write(Config, MessageOneShot);
        _fixture.Write(Count, 10_000);
        _fixture.Time.Advance(TimeSpan.FromMilliseconds(3));

        _fixture.Write(Config, 0);
        _fixture.WriteUInt32(Slot, 0);
        _fixture.Write(0x4000_0084, 0);

        Assert.Equal(0u, _fixture.ReadUInt32(Slot));
    }

    [Fact]
    public void A_message_timer_without_a_sint_stays_off()
    {
        _fixture.Write(Config, 1);

        Assert.Equal(0UL, _fixture.Read(Config));
    }

    [Fact]
    public async Task A_stopped_machine_fires_nothing_and_a_timer_that_is_due_fires_at_the_start()
    {
        _fixture.Write(Config, DirectOneShot);
        _fixture.Write(Count, 10_000);
        await _fixture.Interface.StopAsync();
        _fixture.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Empty(_fixture.Raised);

        _fixture.Interface.Start();

        Assert.Single(_fixture.Raised);
    }

    [Fact]
    public void A_running_timer_survives_save_and_restore()
    {
        _fixture.Write(Config, DirectOneShot);
        _fixture.Write(Count, 10_000);
        var writer = new SavedStateWriter();
        _fixture.Interface.Save(writer);

        using var other = new TlfsFixture(start: false);
        other.Interface.Restore(new SavedStateReader(writer.WrittenSpan.ToArray()));
        other.Interface.Start();
        other.Time.Advance(TimeSpan.FromMilliseconds(1));

        Assert.Equal([(0, (byte)0xED, false)], other.Raised);
    }

    [Fact]
    public void Reset_disarms_timers()
    {
        _fixture.Write(Config, DirectOneShot);
        _fixture.Write(Count, 10_000);

        _fixture.Interface.Reset(ResetKind.Warm);
        _fixture.Time.Advance(TimeSpan.FromSeconds(1));

        Assert.Empty(_fixture.Raised);
    }

    [Fact]
    public void A_time_beyond_all_ages_never_comes()
    {
        _fixture.Write(Config, DirectOneShot);
        _fixture.Write(Count, ulong.MaxValue);

        _fixture.Time.Advance(TimeSpan.FromDays(1));

        Assert.Empty(_fixture.Raised);
    }
}
