using System.Buffers.Binary;
using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using Vitro.UnitTests.Hypervisor.Tlfs;
using Vitro.VmBus;
using Vitro.VmBus.Guest;
using Vitro.VmBus.Host;
using Vitro.Vsp.Integration;
using Vitro.Vsp.Integration.Heartbeat;
using Vitro.Vsp.Integration.Shutdown;
using Vitro.Vsp.Integration.TimeSync;
using Vitro.Vsp.Keyboard;
using Xunit;

namespace Vitro.UnitTests.Vsp.Integration;

/// <summary>The services on a real bus: rings in guest memory, signals, channel threads.</summary>
public sealed class ServicesOverVmBusTests : IAsyncLifetime
{
    private readonly FakeTimeProvider _time = new();
    private readonly GuestMemory _memory = GuestMemory.Create(4 << 20);
    private readonly GpaSpace _gpa;
    private readonly VmClock _clock;
    private readonly LoopbackPorts _ports = new();
    private readonly VmBusHost _bus;
    private readonly GuestBus _guest;

    public ServicesOverVmBusTests()
    {
        _gpa = new GpaSpace(_memory);
        _clock = new VmClock(_time);
        _bus = new VmBusHost(_ports, _gpa);
        _guest = new GuestBus(_ports, _gpa);
    }

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await _bus.StopAsync();
        _bus.Dispose();
        _ports.Dispose();
        _clock.Dispose();
        _gpa.Dispose();
        _memory.Dispose();
    }

    [Fact]
    public async Task A_shutdown_request_is_answered()
    {
        var service = new ShutdownService(_clock);
        using var channel = Connect(service);
        Negotiate(channel, 3, 2);
        await WaitUntilReady(service);

        var request = service.RequestAsync(ShutdownKind.PowerOff, force: false, "bye", TimeSpan.FromSeconds(30));
        Answer(channel, channel.Receive().Payload.ToArray());

        Assert.Equal(ShutdownOutcome.Accepted, await request);
    }

    [Fact]
    public async Task Heartbeats_are_answered()
    {
        var answered = new TaskCompletionSource<HeartbeatState>(TaskCreationOptions.RunContinuationsAsynchronously);
        var service = new HeartbeatService(_clock, state => answered.TrySetResult(state));
        using var channel = Connect(service);
        Negotiate(channel, 3, 0);

        Answer(channel, channel.Receive().Payload.ToArray());

        Assert.Equal(HeartbeatState.Ok, await answered.Task);
    }

    [Fact]
    public void The_time_is_sent_at_contact()
    {
        using var channel = Connect(new TimeSyncService(_clock));
        Negotiate(channel, 4, 0);

        var packet = channel.Receive().Payload.ToArray();

        Assert.Equal(_time.GetUtcNow().ToFileTime(), BinaryPrimitives.ReadInt64LittleEndian(packet.AsSpan(28)));
    }

    [Fact]
    public void More_text_than_the_ring_holds_is_typed_whole()
    {
        var service = new KeyboardService();
        using var channel = Connect(service);
        channel.Send([1, 0, 0, 0, 0, 0, 1, 0]);
        Assert.Equal([2, 0, 0, 0, 1, 0, 0, 0], channel.Receive().Payload.ToArray()[..8]);

        Assert.True(service.TryType(new string('a', 5000)));

        for (var i = 0; i < 5000; i++)
        {
            Assert.Equal(0x1E, channel.Receive().Payload.ToArray()[4]);
            Assert.Equal(2, channel.Receive().Payload.ToArray()[8]);
        }
    }

    [Fact]
    public async Task A_guest_reaches_the_bus_through_hypercalls_and_its_message_page()
    {
        using var fixture = new TlfsFixture(processors: 1);
        using var answered = new SemaphoreSlim(0);
        fixture.OnRaise = (_, _) => answered.Release();
        fixture.EnableHypercalls();
        fixture.EnableSynic();
        using var bus = new VmBusHost(fixture.Ports, fixture.Gpa);
        bus.Start();

        // INITIATE_CONTACT with version 5.3, SINT 2.
        var message = new byte[40];
        message[0] = 14;
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(8), 0x0005_0003);
        message[16] = 2;
        fixture.WriteMessage(4, 1, message);
        Assert.Equal(0UL, fixture.Hypercall(0x5C, TlfsFixture.Input));
        Assert.True(await answered.WaitAsync(TimeSpan.FromSeconds(20)));

        const ulong Slot = TlfsFixture.MessagePage + 0x200;
        Assert.Equal(1u, fixture.ReadUInt32(Slot));
        Assert.Equal(15u, fixture.ReadUInt32(Slot + 16));
        Assert.Equal(1u, fixture.ReadUInt32(Slot + 24) & 0xFFFF);
        await bus.StopAsync();
    }

    private GuestChannel Connect<T>(T service)
        where T : IVmBusService, IVirtualDevice
    {
        _bus.Offer(service);
        service.Start();
        _bus.Start();
        return _guest.Open(_guest.ConnectAndEnumerate().Single().ChannelId);
    }

    private static void Negotiate(GuestChannel channel, ushort major, ushort minor)
    {
        var packet = channel.Receive().Payload.ToArray();
        packet.AsSpan(28).Clear();
        packet[28] = 1;
        packet[30] = 1;
        packet[36] = 3;
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(40), major);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(42), minor);
        Answer(channel, packet);
    }

    private static void Answer(GuestChannel channel, byte[] packet)
    {
        packet[25] = 1 | 4;
        channel.Send(packet);
    }

    private static async Task WaitUntilReady(IntegrationService service)
    {
        while (service.Contact != IcContact.Ready)
        {
            await Task.Yield();
        }
    }
}
