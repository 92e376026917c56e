using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Vsp.Keyboard;
using Xunit;

namespace Vitro.UnitTests.Vsp.Keyboard;

public sealed class KeyboardServiceTests
{
    private readonly KeyboardService _service = new();
    private readonly FakeChannel _channel;

    public KeyboardServiceTests()
    {
        _channel = new FakeChannel(_service);
        _service.Start();
    }

    [Fact]
    public void Linuxs_version_is_accepted()
    {
        _channel.Open();

        Request(0x0001_0000);

        Assert.Equal("0200000001000000", Convert.ToHexString(_channel.Take()));
        Assert.True(_service.IsConnected);
    }

    [Fact]
    public void Another_version_is_refused()
    {
        _channel.Open();

        Request(0x0002_0000);

        Assert.Equal("0200000000000000", Convert.ToHexString(_channel.Take()));
        Assert.False(_service.IsConnected);
    }

    [Fact]
    public void A_keystroke_has_linuxs_layout()
    {
        Connect();

        _service.TrySend(new Keystroke(ScanCode.Delete, IsRelease: true));

        Assert.Equal("030000005300000006000000", Convert.ToHexString(_channel.Take()));
    }

    [Fact]
    public void Keys_wait_for_the_guests_driver_in_order()
    {
        Assert.True(_service.TryType("ab"));

        Connect();

        Assert.Equal("1e 9e 30 b0", Codes());
    }

    [Theory]
    [InlineData("a", "1e 9e")]
    [InlineData("A", "2a 1e 9e aa")]
    [InlineData("!", "2a 02 82 aa")]
    [InlineData("\n", "1c 9c")]
    [InlineData("\r", "1c 9c")]
    [InlineData("\t", "0f 8f")]
    [InlineData("\b", "0e 8e")]
    [InlineData("\u0003", "1d 2e ae 9d")]
    [InlineData("/?", "35 b5 2a 35 b5 aa")]
    [InlineData("'\"", "28 a8 2a 28 a8 aa")]
    [InlineData("\\|", "2b ab 2a 2b ab aa")]
    [InlineData("`~", "29 a9 2a 29 a9 aa")]
    [InlineData(" 0", "39 b9 0b 8b")]
    public void Text_is_typed_on_a_us_keyboard(string text, string codes)
    {
        Connect();

        Assert.True(_service.TryType(text));

        Assert.Equal(codes, Codes());
    }

    [Fact]
    public void Every_printable_ascii_character_has_a_key()
    {
        for (var character = ' '; character <= '~'; character++)
        {
            Assert.True(new KeyboardService().TryType(character.ToString()));
        }
    }

    [Fact]
    public void Text_with_a_character_that_has_no_key_types_nothing()
    {
        Connect();

        Assert.False(_service.TryType("aé"));

        Assert.Equal("", Codes());
    }

    [Fact]
    public void A_chord_is_released_in_reverse()
    {
        Connect();

        _service.TryPressChord(ScanCode.Control, ScanCode.Alt, ScanCode.Delete);

        Assert.Equal("1d 38 53 d3 b8 9d", Codes());
    }

    [Fact]
    public void A_full_ring_loses_no_key()
    {
        Connect();
        _channel.Room = 3;

        _service.TryType("abcd");

        Assert.Equal("1e 9e 30 b0 2e ae 20 a0", Codes());
    }

    [Fact]
    public void A_full_queue_takes_nothing_of_what_does_not_fit()
    {
        Assert.True(_service.TryType(new string('a', (KeyboardService.QueueLimit / 2) - 1)));

        Assert.False(_service.TryType("ab"));
        Assert.True(_service.TryType("a"));
    }

    [Fact]
    public void Keys_are_forgotten_when_the_driver_goes()
    {
        Connect();
        _channel.Room = 0;
        _service.TryType("a");
        _channel.Close();
        _channel.Room = int.MaxValue;

        Connect();

        Assert.Equal("", Codes());
    }

    [Fact]
    public void Indicators_are_shown()
    {
        Connect();

        _channel.FromGuest([4, 0, 0, 0, 2, 0, 0, 0]);

        var node = new InspectNode();
        _service.Inspect(node);
        Assert.Equal("0x2", node.Find("leds"));
    }

    [Fact]
    public void Malformed_packets_are_counted_and_ignored()
    {
        Connect();

        _channel.FromGuest([]);
        _channel.FromGuest([1, 0, 0, 0]);
        _channel.FromGuest([99, 0, 0, 0, 0, 0, 0, 0]);

        var node = new InspectNode();
        _service.Inspect(node);
        Assert.Equal(3L, node.Find("malformed"));
        Assert.True(_service.IsConnected);
    }

    [Fact]
    public void Waiting_keys_survive_save_and_restore()
    {
        Connect();
        _channel.Room = 0;
        _service.TryPressChord(ScanCode.Control, ScanCode.Delete);
        var writer = new SavedStateWriter();
        _service.Save(writer);

        var restored = new KeyboardService();
        restored.Restore(new SavedStateReader(writer.WrittenSpan.ToArray()));
        var channel = new FakeChannel(restored) { IsRestored = true };
        restored.Start();
        channel.Open();

        Assert.Equal(
            ["030000001D00000000000000", "030000005300000004000000", "030000005300000006000000", "030000001D00000002000000"],
            channel.ToGuest.Select(Convert.ToHexString));
    }

    private void Connect()
    {
        _channel.Open();
        Request(0x0001_0000);
        _channel.Take();
    }

    private void Request(uint version)
    {
        var request = new byte[8];
        request[0] = 1;
        BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(4), version);
        _channel.FromGuest(request);
    }

    private string Codes()
    {
        var codes = new List<string>();
        _channel.Pump();
        while (_channel.ToGuest.Count > 0)
        {
            var packet = _channel.Take();
            codes.Add((packet[4] | ((packet[8] & 2) << 6)).ToString("x2"));
        }

        return string.Join(' ', codes);
    }
}
