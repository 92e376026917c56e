using System.Text;
using Vitro.Chipset;
using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class UartTests : IDisposable
{
    private readonly ChipsetFixture _machine = new();

    public UartTests()
    {
        _machine.EnableApics();
        _machine.RoutePin(4, 0x34);
    }

    private Uart Port => _machine.Chipset.SerialPorts[0]!;

    public void Dispose() => _machine.Dispose();

    [Fact]
    public async Task Output_reaches_the_back_end_in_blocks()
    {
        Send("hello, world");
        await _machine.Chipset.StopAsync();

        Assert.Equal("hello, world", _machine.Serial.Text);
        Assert.Equal(1, _machine.Serial.Writes);
    }

    [Fact]
    public async Task Gathered_output_leaves_when_the_clock_says()
    {
        Send("x");

        _machine.Advance(1_000_000);
        await Port.FlushAsync(CancellationToken.None);

        Assert.Equal("x", _machine.Serial.Text);
    }

    [Fact]
    public async Task A_slow_back_end_makes_the_transmitter_busy_and_loses_nothing()
    {
        _machine.Serial.Hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var sent = 0;
        while ((_machine.In(0x3FD) & 0x20) != 0)
        {
            _machine.Out(0x3F8, (byte)('a' + (sent++ % 26)));
        }

        Assert.InRange(sent, Uart.OutputCapacity, 2 * Uart.OutputCapacity);
        _machine.Serial.Hold.SetResult();
        await Port.FlushAsync(CancellationToken.None);

        Assert.NotEqual(0, _machine.In(0x3FD) & 0x20);
        Assert.Equal(sent, _machine.Serial.Text.Length);
    }

    [Fact]
    public async Task A_back_end_that_fails_does_not_stop_the_guest()
    {
        _machine.Serial.Fails = true;
        Send("lost");
        await Port.FlushAsync(CancellationToken.None);

        Send("lost too");
        await Port.FlushAsync(CancellationToken.None);

        Assert.Equal(0x60, _machine.In(0x3FD) & 0x60);
    }

    [Fact]
    public void The_transmit_interrupt_comes_when_enabled_and_after_each_byte()
    {
        _machine.Out(0x3FC, 0x08);
        _machine.Out(0x3F9, 0x02);
        Assert.Equal([0x34], _machine.TakeAll());
        Assert.Equal(0x02, _machine.In(0x3FA));
        Assert.Equal(0x01, _machine.In(0x3FA));

        _machine.Out(0x3F8, (byte)'x');

        Assert.Equal([0x34], _machine.TakeAll());
        Assert.Equal(0x02, _machine.In(0x3FA));
    }

    [Fact]
    public void Received_bytes_interrupt_and_are_read_in_order()
    {
        _machine.Out(0x3FC, 0x08);
        _machine.Out(0x3F9, 0x01);

        Assert.Equal(3, Port.Receive("abc"u8));

        Assert.Equal([0x34], _machine.TakeAll());
        Assert.Equal(0x04, _machine.In(0x3FA));
        Assert.Equal("abc", Receive(3));
        Assert.Equal(0, _machine.In(0x3FD) & 1);
        Assert.Equal(0x01, _machine.In(0x3FA));
    }

    [Fact]
    public void With_fifos_fewer_bytes_than_the_trigger_are_a_time_out()
    {
        _machine.Out(0x3FA, 0xC7);
        _machine.Out(0x3F9, 0x01);
        Port.Receive("abc"u8);
        Assert.Equal(0xCC, _machine.In(0x3FA));

        Port.Receive("defghijklmnop"u8);

        Assert.Equal(0xC4, _machine.In(0x3FA));
    }

    [Fact]
    public async Task Input_beyond_the_queue_is_refused_until_the_guest_reads()
    {
        var all = Encoding.ASCII.GetBytes(new string('x', 3 * Uart.InputCapacity));
        _machine.Out(0x3FA, 0x01);
        var taken = Port.Receive(all);
        taken += Port.Receive(all);
        Assert.Equal(Uart.InputCapacity + 16, taken);
        Assert.Equal(0, Port.Receive(all));
        var room = Port.WaitForRoomAsync(CancellationToken.None);
        Assert.False(room.IsCompleted);

        _machine.In(0x3F8);

        await room;
        Assert.Equal(1, Port.Receive(all));
    }

    [Fact]
    public void Loopback_returns_bytes_and_modem_lines()
    {
        _machine.Out(0x3FC, 0x10);
        Assert.Equal(0, _machine.In(0x3FE) & 0xF0);
        _machine.Out(0x3FC, 0x1A);
        Assert.Equal(0x90, _machine.In(0x3FE) & 0xF0);

        _machine.Out(0x3F8, 0x5A);

        Assert.Equal(0x5A, _machine.In(0x3F8));
        Assert.Equal("", _machine.Serial.Text);
    }

    [Fact]
    public void Divisor_scratch_and_fifo_bits_are_what_drivers_probe()
    {
        _machine.Out(0x3FB, 0x80);
        _machine.Out(0x3F8, 0x01);
        _machine.Out(0x3F9, 0x00);
        Assert.Equal(1, _machine.In(0x3F8));
        _machine.Out(0x3FB, 0x03);
        _machine.Out(0x3FF, 0xA5);
        Assert.Equal(0xA5, _machine.In(0x3FF));
        Assert.Equal(0x01, _machine.In(0x3FA));

        _machine.Out(0x3FA, 0x01);

        Assert.Equal(0xC1, _machine.In(0x3FA));
        _machine.Out(0x3F9, 0xFF);
        Assert.Equal(0x0F, _machine.In(0x3F9));
    }

    [Fact]
    public void Without_out2_the_interrupt_does_not_leave_the_port()
    {
        _machine.Out(0x3F9, 0x02);

        Assert.Empty(_machine.TakeAll());
    }

    [Fact]
    public void A_port_without_back_end_is_not_in_the_machine()
    {
        Assert.Equal(0xFF, _machine.In(0x2FD));
    }

    private void Send(string text)
    {
        foreach (var character in text)
        {
            _machine.Out(0x3F8, (byte)character);
        }
    }

    private string Receive(int count) => string.Concat(Enumerable.Range(0, count).Select(_ => (char)_machine.In(0x3F8)));
}
