using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class PicTests : IDisposable
{
    private readonly ChipsetFixture _machine = new();

    public PicTests()
    {
        _machine.Chipset.PrepareForDirectBoot();
        Initialise(0x20, 0xA0, 0x01);
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void An_edge_reaches_the_processor_through_lint0()
    {
        _machine.Chipset.Interrupts.SetLine(5, true);

        Assert.Equal(1, _machine.Processors[0].Interrupts);
        Assert.Equal(0x25, Acknowledge());
        Assert.Null(Acknowledge());
    }

    [Fact]
    public void The_slave_comes_through_line_2_with_its_own_base()
    {
        _machine.Chipset.Interrupts.SetLine(12, true);

        Assert.Equal(0xA4, Acknowledge());
        Assert.Equal(0x04, ReadInService(0x20));
        Assert.Equal(0x10, ReadInService(0xA0));
    }

    [Fact]
    public void Lower_priorities_wait_for_the_end_of_the_higher()
    {
        Raise(3);
        Assert.Equal(0x23, Acknowledge());
        Raise(4);
        Assert.Null(Acknowledge());

        _machine.Out(0x20, 0x20);

        Assert.Equal(0x24, Acknowledge());
    }

    [Fact]
    public void Higher_priorities_interrupt_the_lower()
    {
        Raise(6);
        Assert.Equal(0x26, Acknowledge());

        Raise(1);

        Assert.Equal(0x21, Acknowledge());
    }

    [Fact]
    public void Masked_lines_wait()
    {
        _machine.Out(0x21, 0x08);
        Raise(3);
        Assert.Null(Acknowledge());

        _machine.Out(0x21, 0);

        Assert.Equal(0x23, Acknowledge());
    }

    [Fact]
    public void A_request_that_vanished_is_the_spurious_line_7()
    {
        _machine.Out(0x4D0, 0x20);
        _machine.Chipset.Interrupts.SetLine(5, true);
        _machine.Chipset.Interrupts.SetLine(5, false);

        Assert.Equal(0x27, _machine.Chipset.Pic.Acknowledge());
        Assert.Equal(0, ReadInService(0x20));
    }

    [Fact]
    public void A_level_line_stays_requested_until_it_falls()
    {
        _machine.Out(0x4D0, 0x20);
        _machine.Chipset.Interrupts.SetLine(5, true);
        Assert.Equal(0x25, Acknowledge());
        _machine.Out(0x20, 0x65);
        Assert.Equal(0x25, Acknowledge());
        _machine.Chipset.Interrupts.SetLine(5, false);

        _machine.Out(0x20, 0x65);

        Assert.Null(Acknowledge());
    }

    [Fact]
    public void Auto_eoi_leaves_nothing_in_service()
    {
        Initialise(0x20, 0xA0, 0x03);
        Raise(3);

        Assert.Equal(0x23, Acknowledge());

        Assert.Equal(0, ReadInService(0x20));
    }

    [Fact]
    public void Rotation_makes_the_ended_line_the_lowest()
    {
        Raise(3);
        Assert.Equal(0x23, Acknowledge());
        _machine.Out(0x20, 0xA0);
        Raise(3);
        Raise(4);

        Assert.Equal(0x24, Acknowledge());
    }

    [Fact]
    public void Special_mask_mode_lets_lower_lines_through()
    {
        Raise(3);
        Assert.Equal(0x23, Acknowledge());
        _machine.Out(0x21, 0x08);
        _machine.Out(0x20, 0x68);
        Raise(6);

        Assert.Equal(0x26, Acknowledge());
    }

    [Fact]
    public void A_poll_acknowledges()
    {
        Raise(4);
        _machine.Out(0x20, 0x0C);

        Assert.Equal(0x84, _machine.In(0x20));
        Assert.Equal(0x10, ReadInService(0x20));
    }

    [Fact]
    public void Two_slave_requests_follow_each_other()
    {
        Raise(9);
        Raise(14);
        Assert.Equal(0xA1, Acknowledge());
        Assert.Null(Acknowledge());
        _machine.Out(0xA0, 0x20);
        _machine.Out(0x20, 0x20);

        Assert.Equal(0xA6, Acknowledge());
    }

    [Fact]
    public void Edge_only_lines_cannot_be_made_level()
    {
        _machine.Out(0x4D0, 0xFF);
        _machine.Out(0x4D1, 0xFF);

        Assert.Equal(0xF8, _machine.In(0x4D0));
        Assert.Equal(0xDE, _machine.In(0x4D1));
    }

    [Fact]
    public void It_is_silent_until_it_is_initialised()
    {
        using var machine = new ChipsetFixture();
        machine.Chipset.PrepareForDirectBoot();

        machine.Chipset.Interrupts.SetLine(5, true);

        Assert.False(machine.Chipset.LocalApics.Apics[0].HasPendingInterrupt);
    }

    [Fact]
    public void A_masked_lint0_keeps_it_from_the_processor()
    {
        _machine.WriteApic(0x35, 0x1_0700);
        Raise(3);
        Assert.Null(Acknowledge());
        var signals = _machine.Processors[0].Interrupts;

        _machine.WriteApic(0x35, 0x0700);

        Assert.Equal(signals + 1, _machine.Processors[0].Interrupts);
        Assert.Equal(0x23, Acknowledge());
    }

    private void Initialise(byte masterBase, byte slaveBase, byte icw4)
    {
        _machine.Out(0x20, 0x11);
        _machine.Out(0x21, masterBase);
        _machine.Out(0x21, 0x04);
        _machine.Out(0x21, icw4);
        _machine.Out(0xA0, 0x11);
        _machine.Out(0xA1, slaveBase);
        _machine.Out(0xA1, 0x02);
        _machine.Out(0xA1, icw4);
    }

    private void Raise(int line)
    {
        _machine.Chipset.Interrupts.SetLine(line, true);
        _machine.Chipset.Interrupts.SetLine(line, false);
    }

    private int? Acknowledge() => _machine.Chipset.LocalApics.Apics[0].TryAcknowledge(out var vector) ? vector : null;

    private byte ReadInService(ushort command)
    {
        _machine.Out(command, 0x0B);
        return _machine.In(command);
    }
}
