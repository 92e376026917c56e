using Vitro.Hypervisor.Bus;
using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class IoApicTests
{
    private const uint Level = 0x8000;
    private const uint Masked = 0x1_0000;

    [Fact]
    public void It_has_24_pins_and_version_0x20()
    {
        using var machine = new ChipsetFixture();

        Assert.Equal(0x0017_0020u, machine.ReadIoApic(1));
        Assert.Equal(Masked, machine.ReadIoApic(0x10));
        Assert.Equal(Masked, machine.ReadIoApic(0x3E));
        Assert.Equal(0u, machine.ReadIoApic(0x40));
    }

    [Fact]
    public void An_edge_is_one_interrupt()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(10, 0x61);
        var line = machine.Chipset.CreateLine(10);

        line.Set(true);
        Assert.Equal([0x61], machine.TakeAll());
        line.Set(false);

        Assert.Empty(machine.TakeAll());
    }

    [Fact]
    public void An_edge_at_a_masked_pin_is_lost()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(10, 0x61 | Masked);
        machine.Chipset.CreateLine(10).Pulse();

        machine.RoutePin(10, 0x61);

        Assert.Empty(machine.TakeAll());
    }

    [Fact]
    public void A_level_comes_again_after_each_end_while_the_line_is_high()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(10, 0x61 | Level);
        var apic = machine.Chipset.LocalApics.Apics[0];
        var line = machine.Chipset.CreateLine(10);
        line.Set(true);
        for (var i = 0; i < 3; i++)
        {
            Assert.True(apic.TryAcknowledge(out _));
            Assert.False(apic.HasPendingInterrupt);
            Assert.Equal(0x61u | Level | 0x4000, machine.ReadIoApic(0x24));
            apic.EndOfInterrupt();
        }

        Assert.True(apic.TryAcknowledge(out _));
        line.Set(false);
        apic.EndOfInterrupt();

        Assert.False(apic.HasPendingInterrupt);
        Assert.Equal(0x61u | Level, machine.ReadIoApic(0x24));
    }

    [Fact]
    public void A_level_waits_behind_the_mask()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(10, 0x61 | Level | Masked);
        machine.Chipset.CreateLine(10).Set(true);
        Assert.Empty(machine.TakeAll());

        machine.WriteIoApic(0x24, 0x61 | Level);

        Assert.True(machine.Chipset.LocalApics.Apics[0].TryAcknowledge(out var vector));
        Assert.Equal(0x61, vector);
    }

    [Fact]
    public void Switching_to_edge_and_back_clears_remote_irr()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(10, 0x61 | Level);
        var line = machine.Chipset.CreateLine(10);
        line.Set(true);
        line.Set(false);

        machine.WriteIoApic(0x24, 0x61 | Masked);
        machine.WriteIoApic(0x24, 0x61 | Level);

        Assert.Equal(0x61u | Level, machine.ReadIoApic(0x24));
    }

    [Fact]
    public void The_eoi_register_ends_a_level_interrupt()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(10, 0x61 | Level);
        var line = machine.Chipset.CreateLine(10);
        line.Set(true);
        line.Set(false);

        machine.Chipset.WriteMmio(0, 0xFEC0_0040, 4, 0x61);

        Assert.Equal(0x61u | Level, machine.ReadIoApic(0x24));
    }

    [Fact]
    public void The_destination_chooses_the_processor()
    {
        using var machine = new ChipsetFixture(4);
        machine.EnableApics();
        machine.RoutePin(11, 0x62, destination: 3);

        machine.Chipset.CreateLine(11).Pulse();

        Assert.Equal([0, 0, 0, 1], Enumerable.Range(0, 4).Select(vp => machine.TakeAll(vp).Count));
    }

    [Fact]
    public void Isa_interrupt_0_arrives_at_pin_2()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.RoutePin(2, 0x30);
        machine.RoutePin(0, 0x31);

        machine.Chipset.Interrupts.SetLine(0, true);

        Assert.Equal([0x30], machine.TakeAll());
    }

    [Fact]
    public void Lines_that_do_not_exist_are_ignored()
    {
        using var machine = new ChipsetFixture();

        machine.Chipset.Interrupts.SetLine(24, true);
        machine.Chipset.Interrupts.SetLine(-1, true);
        new InterruptLine(machine.Chipset.Interrupts, 4711).Pulse();

        Assert.Empty(machine.TakeAll());
    }
}
