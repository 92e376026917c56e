using Vitro.Chipset;
using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class ApicTimerTests
{
    [Theory]
    [InlineData(0xBu, 1)]
    [InlineData(0x0u, 2)]
    [InlineData(0x1u, 4)]
    [InlineData(0x2u, 8)]
    [InlineData(0x3u, 16)]
    [InlineData(0x8u, 32)]
    [InlineData(0x9u, 64)]
    [InlineData(0xAu, 128)]
    public void The_count_falls_at_the_stated_rate(uint configuration, int divisor)
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x3E, configuration);
        machine.WriteApic(0x38, 1_000_000);

        machine.Advance(1_000_000);

        Assert.Equal(1_000_000u - (uint)(LocalApic.TimerFrequency / 1000 / divisor), machine.ReadApic(0x39));
    }

    [Fact]
    public void A_one_shot_expires_once_and_stays_at_zero()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x3E, 0xB);
        machine.WriteApic(0x32, 0x40);
        machine.WriteApic(0x38, 1_000_000);

        machine.Advance(999_900);
        Assert.Empty(machine.TakeAll());
        machine.Advance(100);
        Assert.Equal([0x40], machine.TakeAll());
        machine.Advance(5_000_000);

        Assert.Empty(machine.TakeAll());
        Assert.Equal(0u, machine.ReadApic(0x39));
    }

    [Fact]
    public void A_periodic_timer_keeps_its_phase()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x3E, 0xB);
        machine.WriteApic(0x32, 0x2_0040);
        machine.WriteApic(0x38, 1_000_000);
        var ticks = 0;
        for (var i = 0; i < 10; i++)
        {
            machine.Advance(1_000_000);
            ticks += machine.TakeAll().Count;
        }

        Assert.Equal(10, ticks);
        machine.Advance(250_000);
        Assert.Equal(750_000u, machine.ReadApic(0x39));
    }

    [Fact]
    public void Periods_missed_by_a_late_clock_are_one_interrupt()
    {
        var timer = new ApicTimer();
        timer.WriteMode(ApicTimerMode.Periodic, 0);
        timer.WriteDivideConfiguration(0xB, 0);
        timer.WriteInitialCount(1_000_000, 0);

        Assert.True(timer.TryExpire(7_300_000));
        Assert.False(timer.TryExpire(7_300_000));
        Assert.Equal(8_000_000, timer.NextExpiry);
    }

    [Fact]
    public void A_period_of_one_count_does_not_occupy_the_clock()
    {
        var timer = new ApicTimer();
        timer.WriteMode(ApicTimerMode.Periodic, 0);
        timer.WriteInitialCount(1, 0);

        Assert.True(timer.TryExpire(1_000));

        Assert.InRange(timer.NextExpiry, 1_000 + ApicTimer.ShortestRepeat - 20, 1_000 + ApicTimer.ShortestRepeat + 20);
    }

    [Fact]
    public void A_masked_timer_counts_and_interrupts_nobody()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x32, 0x1_0040);
        machine.WriteApic(0x38, 1000);

        machine.Advance(1_000_000);

        Assert.Empty(machine.TakeAll());
        Assert.Equal(0u, machine.ReadApic(0x39));
    }

    [Fact]
    public void Writing_zero_stops_the_timer()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x32, 0x40);
        machine.WriteApic(0x38, 1000);
        machine.WriteApic(0x38, 0);

        machine.Advance(1_000_000);

        Assert.Empty(machine.TakeAll());
    }

    [Fact]
    public void A_tsc_deadline_expires_once_and_reads_back_zero()
    {
        using var machine = new ChipsetFixture(tscToNanoseconds: tsc => (long)tsc / 2);
        machine.EnableApics();
        machine.WriteApic(0x32, 0x4_0040);
        Assert.True(machine.Chipset.TryWriteMsr(0, 0x6E0, 2_000_000));
        Assert.True(machine.Chipset.TryReadMsr(0, 0x6E0, out var armed));
        Assert.Equal(2_000_000UL, armed);

        machine.Advance(999_900);
        Assert.Empty(machine.TakeAll());
        machine.Advance(100);

        Assert.Equal([0x40], machine.TakeAll());
        Assert.True(machine.Chipset.TryReadMsr(0, 0x6E0, out var spent));
        Assert.Equal(0UL, spent);
    }

    [Fact]
    public void Without_the_switch_tsc_deadline_does_not_exist()
    {
        using var machine = new ChipsetFixture();

        Assert.False(machine.Chipset.TryReadMsr(0, 0x6E0, out _));
        Assert.False(machine.Chipset.TryWriteMsr(0, 0x6E0, 1));
    }

    [Fact]
    public async Task A_stopped_timer_fires_after_it_is_started_again()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x3E, 0xB);
        machine.WriteApic(0x32, 0x40);
        machine.WriteApic(0x38, 200_000);
        await machine.Chipset.StopAsync();
        machine.Advance(2_000_000);
        Assert.Empty(machine.TakeAll());

        machine.Chipset.Start();
        machine.Advance(1_000);

        Assert.Equal([0x40], machine.TakeAll());
    }
}
