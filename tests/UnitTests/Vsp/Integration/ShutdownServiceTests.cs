using System.Buffers.Binary;
using System.Text;
using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Vitro.Vsp.Integration.Shutdown;
using Xunit;

namespace Vitro.UnitTests.Vsp.Integration;

public sealed class ShutdownServiceTests : IDisposable
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(30);
    private readonly FakeTimeProvider _time = new();
    private readonly VmClock _clock;
    private readonly ShutdownService _service;
    private readonly IcGuest _guest;

    public ShutdownServiceTests()
    {
        _clock = new VmClock(_time);
        _service = new ShutdownService(_clock);
        _guest = new IcGuest(_service, (3, 2), (3, 1), (3, 0), (1, 0));
        _service.Start();
    }

    public void Dispose() => _clock.Dispose();

    [Fact]
    public async Task A_guest_that_agrees_has_accepted()
    {
        _guest.Connect();
        Assert.Equal("3.2", _service.Version.ToString());

        var request = _service.RequestAsync(ShutdownKind.PowerOff, force: false, "maintenance", Timeout);
        _guest.Answer(_guest.Channel.Take());

        Assert.Equal(ShutdownOutcome.Accepted, await request);
    }

    [Fact]
    public async Task A_guest_that_answers_with_an_error_has_refused()
    {
        _guest.Connect();

        var request = _service.RequestAsync(ShutdownKind.Hibernate, force: false, "", Timeout);
        _guest.Answer(_guest.Channel.Take(), status: 0x80004005);

        Assert.Equal(ShutdownOutcome.Refused, await request);
    }

    [Fact]
    public async Task A_guest_that_says_nothing_has_no_contact_at_the_time_limit()
    {
        _guest.Connect();
        var request = _service.RequestAsync(ShutdownKind.PowerOff, force: false, "", Timeout);
        _guest.Channel.Take();
        _time.Advance(TimeSpan.FromSeconds(29));
        Assert.False(request.IsCompleted);

        _time.Advance(TimeSpan.FromSeconds(2));

        Assert.Equal(ShutdownOutcome.NoContact, await request);
    }

    [Fact]
    public async Task Without_a_driver_there_is_no_contact_at_once()
    {
        Assert.Equal(ShutdownOutcome.NoContact, await _service.RequestAsync(ShutdownKind.PowerOff, force: false, "", Timeout));
    }

    [Fact]
    public async Task Closing_the_channel_ends_a_request()
    {
        _guest.Connect();
        var request = _service.RequestAsync(ShutdownKind.PowerOff, force: false, "", Timeout);

        _guest.Channel.Close();

        Assert.Equal(ShutdownOutcome.NoContact, await request);
    }

    [Fact]
    public async Task A_second_request_shares_the_answer_of_the_first()
    {
        _guest.Connect();
        var first = _service.RequestAsync(ShutdownKind.PowerOff, force: false, "", Timeout);
        var second = _service.RequestAsync(ShutdownKind.PowerOff, force: true, "", Timeout);
        _guest.Answer(_guest.Channel.Take());

        Assert.Equal([ShutdownOutcome.Accepted, ShutdownOutcome.Accepted], await Task.WhenAll(first, second));
        Assert.Empty(_guest.Channel.ToGuest);
    }

    [Theory]
    [InlineData(ShutdownKind.PowerOff, false, 0u)]
    [InlineData(ShutdownKind.PowerOff, true, 1u)]
    [InlineData(ShutdownKind.Restart, false, 2u)]
    [InlineData(ShutdownKind.Restart, true, 3u)]
    [InlineData(ShutdownKind.Hibernate, false, 4u)]
    public void A_request_has_linuxs_layout(ShutdownKind kind, bool force, uint flags)
    {
        _guest.Connect();

        _ = _service.RequestAsync(kind, force, "bye", Timeout);
        var packet = _guest.Channel.Take();

        Assert.Equal(28 + 2060, packet.Length);
        Assert.Equal(3, packet[12]);
        Assert.Equal(30u, BinaryPrimitives.ReadUInt32LittleEndian(packet.AsSpan(32)));
        Assert.Equal(flags, BinaryPrimitives.ReadUInt32LittleEndian(packet.AsSpan(36)));
        Assert.Equal("bye\0", Encoding.Unicode.GetString(packet, 40, 8));
    }

    [Fact]
    public void A_message_that_is_too_long_is_cut_and_terminated()
    {
        _guest.Connect();

        _ = _service.RequestAsync(ShutdownKind.PowerOff, force: false, new string('x', 5000), Timeout);
        var packet = _guest.Channel.Take();

        Assert.Equal("x\0", Encoding.Unicode.GetString(packet, 28 + 12 + 2044, 4));
    }
}
