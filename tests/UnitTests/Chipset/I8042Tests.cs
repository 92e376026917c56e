using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class I8042Tests : IDisposable
{
    private readonly ChipsetFixture _machine = new();

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void The_self_test_passes()
    {
        _machine.Out(0x64, 0xAA);

        Assert.Equal([0x55], ReadAll());
    }

    [Fact]
    public void The_configuration_byte_reads_back()
    {
        _machine.Out(0x64, 0x60);
        _machine.Out(0x60, 0x45);
        _machine.Out(0x64, 0x20);

        Assert.Equal([0x45], ReadAll());
    }

    [Fact]
    public void The_keyboard_resets_and_identifies_itself()
    {
        _machine.Out(0x60, 0xFF);
        Assert.Equal([0xFA, 0xAA], ReadAll());

        _machine.Out(0x60, 0xF2);

        Assert.Equal([0xFA, 0xAB, 0x83], ReadAll());
    }

    [Fact]
    public void Commands_with_a_parameter_take_it()
    {
        _machine.Out(0x60, 0xED);
        _machine.Out(0x60, 0x07);
        _machine.Out(0x60, 0xF0);
        _machine.Out(0x60, 0x00);

        Assert.Equal([0xFA, 0xFA, 0xFA, 0xFA, 0x02], ReadAll());
    }

    [Fact]
    public void No_auxiliary_device_answers()
    {
        _machine.Out(0x64, 0xA9);
        Assert.Equal([0x01], ReadAll());
        _machine.Out(0x64, 0xD4);
        _machine.Out(0x60, 0xF2);
        Assert.Empty(ReadAll());

        _machine.Out(0x64, 0xD3);
        _machine.Out(0x60, 0x5A);

        // Comes back as keyboard data.
        Assert.Equal(0x01, _machine.In(0x64) & 0x21);
    }

    [Fact]
    public void Each_byte_is_an_edge_of_interrupt_1()
    {
        _machine.EnableApics();
        _machine.RoutePin(1, 0x31);
        _machine.Out(0x60, 0xF2);
        Assert.Equal([0x31], _machine.TakeAll());

        _machine.In(0x60);
        Assert.Equal([0x31], _machine.TakeAll());
        _machine.In(0x60);
        Assert.Equal([0x31], _machine.TakeAll());
        _machine.In(0x60);

        Assert.Empty(_machine.TakeAll());
    }

    [Theory]
    [InlineData(0xFE, 1)]
    [InlineData(0xF0, 1)]
    [InlineData(0xFF, 0)]
    public void A_pulse_of_the_reset_line_resets(byte command, int resets)
    {
        _machine.Out(0x64, command);

        Assert.Equal(resets, _machine.Resets.Count);
    }

    [Fact]
    public void The_output_port_resets_when_its_reset_bit_is_written_low()
    {
        _machine.Out(0x64, 0xD1);
        _machine.Out(0x60, 0x02);

        Assert.Single(_machine.Resets);
    }

    [Fact]
    public void Flooding_the_keyboard_with_commands_loses_answers_only()
    {
        for (var i = 0; i < 1000; i++)
        {
            _machine.Out(0x60, 0xF2);
        }

        Assert.Equal(16, ReadAll().Count);
    }

    private List<int> ReadAll()
    {
        var bytes = new List<int>();
        while ((_machine.In(0x64) & 1) != 0)
        {
            bytes.Add(_machine.In(0x60));
        }

        return bytes;
    }
}
