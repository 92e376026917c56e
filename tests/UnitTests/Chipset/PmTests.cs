using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class PmTests : IDisposable
{
    private readonly ChipsetFixture _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void The_timer_counts_at_its_rate_in_32_bits()
    {
        _machine.Advance(1_000_000_000);
        Assert.Equal(3_579_545u, _machine.Ports.Read(0x608, 4));

        _machine.Advance(1_199_000_000_000);

        Assert.Equal(unchecked((uint)(1200UL * 3_579_545)), _machine.Ports.Read(0x608, 4));
    }

    [Fact]
    public void A_sleep_of_type_5_powers_off()
    {
        _machine.Ports.Write(0x604, 2, 0x3401);

        Assert.Equal(1, _machine.PowerOffs);
    }

    [Fact]
    public void Other_sleep_types_and_a_missing_enable_do_nothing()
    {
        _machine.Ports.Write(0x604, 2, 0x1401);
        _machine.Ports.Write(0x604, 2, 0x2001);

        Assert.Equal(0, _machine.PowerOffs);
        Assert.Equal(0x0001u, _machine.Ports.Read(0x604, 2));
    }

    [Fact]
    public void A_byte_access_to_the_sleep_bits_powers_off_too()
    {
        _machine.Ports.Write(0x605, 1, 0x34);

        Assert.Equal(1, _machine.PowerOffs);
    }

    [Fact]
    public void The_reset_register_resets_when_its_cpu_bit_rises()
    {
        _machine.Out(0xCF9, 0x02);
        Assert.Empty(_machine.Resets);

        _machine.Out(0xCF9, 0x06);

        Assert.Equal(["port 0xcf9"], _machine.Resets);
    }

    [Fact]
    public void Port_92_resets_and_keeps_the_a20_bit()
    {
        Assert.Equal(0x02, _machine.In(0x92));

        _machine.Out(0x92, 0x03);

        Assert.Equal(["port 0x92"], _machine.Resets);
    }

    [Fact]
    public void The_power_button_raises_the_control_interrupt_until_its_status_is_cleared()
    {
        _machine.EnableApics();
        _machine.RoutePin(9, 0x8039);
        Assert.False(_machine.Chipset.Pm.PressPowerButton());
        Assert.Empty(_machine.TakeAll());
        _machine.Ports.Write(0x600, 2, 0x100);
        _machine.Ports.Write(0x602, 2, 0x100);

        Assert.True(_machine.Chipset.Pm.PressPowerButton());

        var apic = _machine.Chipset.LocalApics.Apics[0];
        Assert.True(apic.TryAcknowledge(out var vector));
        Assert.Equal(0x39, vector);
        Assert.Equal(0x0100_0100u, _machine.Ports.Read(0x600, 4));
        _machine.Ports.Write(0x600, 2, 0x100);
        apic.EndOfInterrupt();
        Assert.False(apic.HasPendingInterrupt);
    }

    [Fact]
    public void The_timers_carry_sets_its_status_when_enabled()
    {
        _machine.EnableApics();
        _machine.RoutePin(9, 0x8039);
        _machine.Ports.Write(0x602, 2, 1);
        _machine.Advance(599_900_000_000);
        Assert.Equal(0u, _machine.Ports.Read(0x600, 2));

        _machine.Advance(100_000_000);

        Assert.Equal(1u, _machine.Ports.Read(0x600, 2));
        Assert.True(_machine.Chipset.LocalApics.Apics[0].HasPendingInterrupt);
    }

    [Fact]
    public void The_debug_exit_port_passes_its_code()
    {
        _machine.Ports.Write(0xF4, 4, 0x1234);

        Assert.Equal(0x1234u, _machine.DebugExit);
    }
}
