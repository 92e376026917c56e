using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class RtcTests : IDisposable
{
    private readonly ChipsetFixture _machine = new();

    public RtcTests()
    {
        _machine.EnableApics();
        _machine.RoutePin(8, 0x38);
    }

    public void Dispose() => _machine.Dispose();

    [Fact]
    public void It_shows_the_wall_clock_in_decimal_digits()
    {
        Assert.Equal("20 24-02-28 23:59:58 day 4", Shown());
    }

    [Fact]
    public void Leap_days_follow()
    {
        _machine.Advance(2_000_000_000);

        Assert.Equal("20 24-02-29 00:00:00 day 5", Shown());
    }

    [Fact]
    public void Binary_and_twelve_hour_modes_are_honoured()
    {
        Write(0x0B, 0x04);

        Assert.Equal(0x80 | 11, Read(4));
        Assert.Equal(59, Read(2));
    }

    [Fact]
    public void A_guest_sets_its_own_time()
    {
        Write(0x0B, 0x82);
        Write(0x32, 0x19);
        Write(9, 0x99);
        Write(8, 0x12);
        Write(7, 0x31);
        Write(4, 0x23);
        Write(2, 0x59);
        Write(0, 0x57);
        Write(0x0B, 0x02);

        _machine.Advance(2_000_000_000);

        Assert.Equal("19 99-12-31 23:59:59 day 6", Shown());
    }

    [Fact]
    public void Setting_stops_the_clock_and_releasing_it_goes_on()
    {
        Write(0x0B, 0x82);
        _machine.Advance(5_000_000_000);
        Assert.Equal(0x58, Read(0));

        Write(0x0B, 0x02);

        Assert.Equal(0x58, Read(0));
        _machine.Advance(1_000_000_000);
        Assert.Equal(0x59, Read(0));
    }

    [Fact]
    public void The_update_bit_is_up_just_before_a_second_begins()
    {
        _machine.Advance(999_000_000);
        Assert.Equal(0, Read(0x0A) & 0x80);

        _machine.Advance(800_000);

        Assert.Equal(0x80, Read(0x0A) & 0x80);
    }

    [Fact]
    public void Update_interrupts_come_each_second_once_acknowledged()
    {
        Write(5, 0x12);
        Write(0x0B, 0x12);
        _machine.Advance(1_000_000_000);
        Assert.Equal([0x38], _machine.TakeAll());
        _machine.Advance(1_000_000_000);
        Assert.Empty(_machine.TakeAll());
        Assert.Equal(0x90, Read(0x0C));
        Assert.Equal(0, Read(0x0C));

        _machine.Advance(1_000_000_000);

        Assert.Equal([0x38], _machine.TakeAll());
    }

    [Fact]
    public void The_alarm_matches_its_second_and_wildcards()
    {
        Write(1, 0x03);
        Write(3, 0xFF);
        Write(5, 0xC0);
        Write(0x0B, 0x22);
        _machine.Advance(4_900_000_000);
        Assert.Empty(_machine.TakeAll());

        _machine.Advance(100_000_000);

        Assert.Equal([0x38], _machine.TakeAll());
        Assert.Equal(0xA0, Read(0x0C) & 0xA0);
    }

    [Fact]
    public void Periodic_interrupts_have_the_selected_rate()
    {
        Write(0x0A, 0x26);
        Write(0x0B, 0x42);
        var interrupts = 0;
        for (var i = 0; i < 2000; i++)
        {
            _machine.Advance(500_000);
            interrupts += _machine.TakeAll().Count;
            Read(0x0C);
        }

        Assert.InRange(interrupts, 1022, 1024);
    }

    [Fact]
    public void The_memory_size_is_where_firmware_keeps_it()
    {
        // 1 GiB below 4 GiB, 2 GiB above.
        Assert.Equal(0xFC00, Read(0x30) | (Read(0x31) << 8));
        Assert.Equal((1024 - 16) * 16, Read(0x34) | (Read(0x35) << 8));
        Assert.Equal(2048 * 16, Read(0x5B) | (Read(0x5C) << 8) | (Read(0x5D) << 16));
    }

    [Fact]
    public void Cmos_memory_keeps_what_is_written()
    {
        Write(0x0F, 0x0A);
        Write(0x7F, 0x55);

        _machine.Chipset.Rtc.Reset(Vitro.Foundation.ResetKind.Warm);

        Assert.Equal(0x0A, Read(0x0F));
        Assert.Equal(0x55, Read(0x7F));
    }

    [Fact]
    public void Times_that_do_not_exist_are_brought_into_range()
    {
        Write(8, 0x99);
        Write(7, 0xFF);
        Write(4, 0x77);
        Write(0, 0xAA);

        Assert.Equal(0x12, Read(8));
        Assert.Equal(0x31, Read(7));
    }

    private byte Read(byte register)
    {
        _machine.Out(0x70, (byte)(register | 0x80));
        return _machine.In(0x71);
    }

    private void Write(byte register, byte value)
    {
        _machine.Out(0x70, register);
        _machine.Out(0x71, value);
    }

    private string Shown() =>
        $"{Read(0x32):x2} {Read(9):x2}-{Read(8):x2}-{Read(7):x2} {Read(4):x2}:{Read(2):x2}:{Read(0):x2} day {Read(6)}";
}
