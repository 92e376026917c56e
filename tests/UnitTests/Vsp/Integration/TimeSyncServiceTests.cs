using System.Buffers.Binary;
using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Vitro.Vsp.Integration.TimeSync;
using Xunit;

namespace Vitro.UnitTests.Vsp.Integration;

public sealed class TimeSyncServiceTests : IDisposable
{
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero));
    private readonly VmClock _clock;
    private readonly TimeSyncService _service;
    private readonly IcGuest _guest;

    public TimeSyncServiceTests()
    {
        _clock = new VmClock(_time);
        _service = new TimeSyncService(_clock);
        _guest = new IcGuest(_service, (4, 0), (3, 0), (1, 0));
        _service.Start();
    }

    public void Dispose() => _clock.Dispose();

    [Fact]
    public void The_clock_is_set_once_at_contact()
    {
        _time.Advance(TimeSpan.FromMilliseconds(1500));
        _guest.Connect();

        var packet = Assert.Single(_guest.Channel.ToGuest);

        Assert.Equal(28 + 22, packet.Length);
        Assert.Equal(4, packet[12]);
        Assert.Equal(_time.GetUtcNow().ToFileTime(), BinaryPrimitives.ReadInt64LittleEndian(packet.AsSpan(28)));
        Assert.Equal(15_000_000UL, BinaryPrimitives.ReadUInt64LittleEndian(packet.AsSpan(36)));
        Assert.Equal(1, packet[44]);
    }

    [Fact]
    public void Samples_follow_every_five_seconds()
    {
        _guest.Connect();
        _guest.Answer(_guest.Channel.Take());
        for (var i = 0; i < 3; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(5));
            _guest.Channel.Pump();

            Assert.Equal(2, _guest.Channel.Take()[44]);
            Assert.Empty(_guest.Channel.ToGuest);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Older_guests_get_the_older_layout(ushort major)
    {
        var guest = new IcGuest(_service, (major, 0));
        guest.Connect();

        var packet = guest.Channel.Take();

        Assert.Equal(28 + 25, packet.Length);
        Assert.Equal(_time.GetUtcNow().ToFileTime(), BinaryPrimitives.ReadInt64LittleEndian(packet.AsSpan(28)));
        Assert.Equal(1, packet[52]);
    }

    [Fact]
    public async Task The_clock_is_set_again_after_the_machine_stood_still()
    {
        _guest.Connect();
        _guest.Channel.Take();

        await _service.StopAsync();
        _service.Start();
        _guest.Channel.Pump();

        Assert.Equal(1, _guest.Channel.Take()[44]);
    }

    [Fact]
    public async Task A_stopped_service_sends_nothing()
    {
        _guest.Connect();
        _guest.Channel.Take();

        await _service.StopAsync();
        _time.Advance(TimeSpan.FromMinutes(1));
        _guest.Channel.Pump();

        Assert.Empty(_guest.Channel.ToGuest);
    }

    [Fact]
    public void A_guest_that_does_not_read_gets_its_clock_set_later()
    {
        _guest.Connect();
        _guest.Channel.Take();
        _guest.Channel.Room = 0;
        _service.Synchronize();
        _guest.Channel.Pump();

        _guest.Channel.Room = 1;
        _time.Advance(TimeSpan.FromSeconds(5));
        _guest.Channel.Pump();

        Assert.Equal(1, _guest.Channel.Take()[44]);
    }
}
