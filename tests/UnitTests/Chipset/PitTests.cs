using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class PitTests : IDisposable
{
    private readonly ChipsetFixture _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void A_rate_generator_interrupts_at_its_rate()
    {
        _machine.EnableApics();
        _machine.RoutePin(2, 0x30);
        _machine.Out(0x43, 0x34);
        _machine.TakeAll();
        Load(0x40, 11932);
        var interrupts = 0;
        for (var i = 0; i < 1000; i++)
        {
            _machine.Advance(1_000_000);
            interrupts += _machine.TakeAll().Count;
        }

        // 1193182 / 11932 a second.
        Assert.InRange(interrupts, 99, 100);
    }

    [Fact]
    public void The_count_is_exact_at_any_moment()
    {
        _machine.Out(0x43, 0x34);
        Load(0x40, 0);
        _machine.Advance(10_000_000);

        // 11931 ticks later.
        Assert.Equal(0x10000 - 11931, ReadLatched(0));
    }

    [Fact]
    public void A_terminal_count_rises_once()
    {
        _machine.EnableApics();
        _machine.RoutePin(2, 0x30);
        _machine.Out(0x43, 0x30);
        Load(0x40, 1193);
        Assert.Empty(_machine.TakeAll());

        _machine.Advance(1_000_000);
        Assert.Equal([0x30], _machine.TakeAll());
        _machine.Advance(100_000_000);

        Assert.Empty(_machine.TakeAll());
        _machine.Out(0x43, 0xE2);
        Assert.Equal(0x80 | 0x30, _machine.In(0x40));
    }

    [Fact]
    public void Port_61_gates_counter_2_and_shows_its_output()
    {
        _machine.Out(0x61, 0x00);
        _machine.Out(0x43, 0xB0);
        Load(0x42, 1193);
        _machine.Advance(5_000_000);
        Assert.Equal(0, _machine.In(0x61) & 0x20);
        _machine.Out(0x61, 0x01);
        _machine.Advance(990_000);
        Assert.Equal(0, _machine.In(0x61) & 0x20);

        _machine.Advance(20_000);

        Assert.Equal(0x20, _machine.In(0x61) & 0x20);
    }

    [Fact]
    public void The_refresh_bit_of_port_61_toggles()
    {
        var first = _machine.In(0x61) & 0x10;

        _machine.Advance(15_100);

        Assert.NotEqual(first, _machine.In(0x61) & 0x10);
    }

    [Fact]
    public void A_square_wave_is_high_for_half_its_period()
    {
        _machine.Out(0x61, 0x01);
        _machine.Out(0x43, 0xB6);
        Load(0x42, 1194);
        _machine.Advance(400_000);
        Assert.Equal(0x20, _machine.In(0x61) & 0x20);

        _machine.Advance(300_000);

        Assert.Equal(0, _machine.In(0x61) & 0x20);
    }

    [Fact]
    public void A_one_shot_waits_for_its_gate_and_starts_again_with_it()
    {
        _machine.Out(0x43, 0xB2);
        Load(0x42, 1193);
        _machine.Advance(5_000_000);
        Assert.Equal(0x20, _machine.In(0x61) & 0x20);
        _machine.Out(0x61, 1);
        _machine.Advance(900_000);
        Assert.Equal(0, _machine.In(0x61) & 0x20);
        _machine.Out(0x61, 0);
        _machine.Out(0x61, 1);
        _machine.Advance(900_000);
        Assert.Equal(0, _machine.In(0x61) & 0x20);

        _machine.Advance(200_000);

        Assert.Equal(0x20, _machine.In(0x61) & 0x20);
    }

    [Fact]
    public void Binary_coded_decimal_counts_are_decimal()
    {
        _machine.Out(0x43, 0x35);
        _machine.Out(0x40, 0x00);
        _machine.Out(0x40, 0x20);
        _machine.Advance(10_000);

        // 11 ticks after 2000.
        Assert.Equal(0x1989, ReadLatched(0));
    }

    [Fact]
    public void A_latched_count_holds_until_it_is_read()
    {
        _machine.Out(0x43, 0x34);
        Load(0x40, 50_000);
        _machine.Out(0x43, 0x00);
        _machine.Advance(1_000_000);
        _machine.Out(0x43, 0x00);

        Assert.Equal(50_000, _machine.In(0x40) | (_machine.In(0x40) << 8));
    }

    [Fact]
    public void Read_back_gives_status_before_count()
    {
        _machine.Out(0x43, 0x34);
        Load(0x40, 50_000);

        _machine.Out(0x43, 0xC2);

        Assert.Equal(0xB4, _machine.In(0x40));
        Assert.Equal(50_000, _machine.In(0x40) | (_machine.In(0x40) << 8));
    }

    [Fact]
    public void A_software_strobe_is_low_for_one_tick()
    {
        _machine.Out(0x61, 1);
        _machine.Out(0x43, 0xB8);
        Load(0x42, 1000);
        Assert.Equal(0x20, _machine.In(0x61) & 0x20);

        // 838.09 microseconds are 1000 ticks.
        _machine.Advance(838_300);
        Assert.Equal(0, _machine.In(0x61) & 0x20);
        _machine.Advance(1_000);

        Assert.Equal(0x20, _machine.In(0x61) & 0x20);
    }

    private void Load(ushort port, int count)
    {
        _machine.Out(port, (byte)count);
        _machine.Out(port, (byte)(count >> 8));
    }

    private int ReadLatched(int counter)
    {
        _machine.Out(0x43, (byte)(counter << 6));
        return _machine.In((ushort)(0x40 + counter)) | (_machine.In((ushort)(0x40 + counter)) << 8);
    }
}
