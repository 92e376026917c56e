using Vitro.Foundation;
using Vitro.VmBus;
using Vitro.VmBus.Guest;
using Vitro.VmBus.Protocol;
using Xunit;

namespace Vitro.UnitTests.VmBus;

public sealed class VmBusHostTests
{
    public static TheoryData<uint> Versions => [.. VmBusVersion.Supported.Select(version => version.Value)];

    [Theory]
    [MemberData(nameof(Versions))]
    public void A_guest_of_each_version_opens_a_channel_and_gets_an_echo(uint version)
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService());
        bus.Host.Start();

        var offer = Assert.Single(bus.Guest.ConnectAndEnumerate(new VmBusVersion(version)));
        using var channel = bus.Guest.Open(offer.ChannelId, scatter: true);
        channel.Send("hello, host"u8, transactionId: 7, VmBusPacketFlags.CompletionRequested);
        var packet = channel.Receive();

        Assert.Equal(VmBusPacketType.Completion, packet.Type);
        Assert.Equal(7ul, packet.TransactionId);
        Assert.Equal("hello, host\0\0\0\0\0"u8, packet.Payload);
        bus.Guest.Close(channel);
    }

    [Fact]
    public void A_channel_opens_again_after_it_was_closed()
    {
        using var bus = new BusFixture();
        var service = new EchoService();
        bus.Host.Offer(service);
        bus.Host.Start();
        var offer = bus.Guest.ConnectAndEnumerate()[0];

        for (var i = 0; i < 5; i++)
        {
            using var channel = bus.Guest.Open(offer.ChannelId);
            RoundTrip(channel);
            bus.Guest.Close(channel);
        }

        Assert.Equal(5, service.OpenCount);
        Assert.Equal(5, service.ClosedCount);
    }

    [Fact]
    public void Thousands_of_packets_pass_through_a_small_ring_both_ways()
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService());
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId, pagesEachWay: 2);
        const int Count = 20_000;
        var sender = new Thread(() =>
        {
            var payload = new byte[200];
            for (var i = 0; i < Count; i++)
            {
                channel.Send(payload.AsSpan(0, i % payload.Length), (ulong)i, VmBusPacketFlags.CompletionRequested);
            }
        });
        sender.Start();

        for (var i = 0; i < Count; i++)
        {
            Assert.Equal((ulong)i, channel.Receive().TransactionId);
        }

        sender.Join();
    }

    [Fact]
    public void Completions_that_find_the_ring_full_come_later_and_in_order()
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService
        {
            Opened = static channel =>
        {
            for (var i = 0; i < 1000; i++)
            {
                channel.SendInBand(new byte[100], (ulong)i);
            }
        }
        });
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId, pagesEachWay: 2);

        for (var i = 0; i < 1000; i++)
        {
            Assert.Equal((ulong)i, channel.Receive().TransactionId);
        }
    }

    [Fact]
    public void A_batch_costs_one_signal()
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService
        {
            Opened = channel =>
        {
            channel.BeginBatch();
            for (var i = 0; i < 20; i++)
            {
                channel.SendInBand(new byte[8], (ulong)i);
            }

            Assert.Equal(0, bus.Ports.EventCount);
            channel.EndBatch();
        }
        });
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId);

        channel.Receive();

        Assert.Equal(1, bus.Ports.EventCount);
    }

    [Fact]
    public void Sub_channels_are_offered_on_request_and_rescinded_with_their_primary_channel()
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService(maximumSubChannels: 3)
        {
            Opened = static channel =>
        {
            if (channel.SubChannelIndex == 0)
            {
                channel.OfferSubChannels(8);
            }
        }
        });
        bus.Host.Start();
        using var primary = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId);
        var offers = bus.Guest.WaitForOffers(4);
        var sub = offers[2];
        Assert.Equal(2, sub.SubChannelIndex);
        using var channel = bus.Guest.Open(sub.ChannelId);
        channel.Send([1, 2], transactionId: 3);
        Assert.Equal(3ul, channel.Receive().TransactionId);
        bus.Guest.Close(channel);
        bus.Guest.Close(primary);

        bus.Guest.WaitForRescind(sub.ChannelId);
        bus.Guest.Release(sub.ChannelId);
    }

    [Fact]
    public void A_rescinded_channel_keeps_its_number_until_the_guest_releases_it()
    {
        using var bus = new BusFixture();
        var offer = bus.Host.Offer(new EchoService());
        bus.Host.Start();
        var channelId = bus.Guest.ConnectAndEnumerate()[0].ChannelId;
        using var channel = bus.Guest.Open(channelId);

        bus.Host.Rescind(offer);
        bus.Guest.WaitForRescind(channelId);
        Assert.NotNull(Inspect(bus).Find($"channels/{channelId}"));
        bus.Guest.Close(channel);
        bus.Guest.Release(channelId);
        bus.Guest.Enumerate();

        Assert.Null(Inspect(bus).Find($"channels/{channelId}"));
    }

    [Fact]
    public void Unload_closes_every_channel_before_it_is_answered()
    {
        using var bus = new BusFixture();
        var service = new EchoService();
        bus.Host.Offer(service);
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId);
        RoundTrip(channel);

        bus.Guest.Unload();

        Assert.Equal(1, service.ClosedCount);
        Assert.False(bus.Host.IsConnected);
        Assert.Single(bus.Guest.ConnectAndEnumerate());
    }

    [Fact]
    public void A_new_contact_ends_the_old_connection()
    {
        using var bus = new BusFixture();
        var service = new EchoService();
        bus.Host.Offer(service);
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId);
        RoundTrip(channel);

        var offer = Assert.Single(bus.Guest.ConnectAndEnumerate(VmBusVersion.V4_0));

        Assert.Equal(1, service.ClosedCount);
        using var again = bus.Guest.Open(offer.ChannelId);
        again.Send([9], transactionId: 9);
        Assert.Equal(9ul, again.Receive().TransactionId);
    }

    [Fact]
    public void Interrupts_go_to_the_processor_last_named()
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService());
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId, targetVp: 1);
        channel.Send([1], transactionId: 1);
        channel.Receive();
        Assert.Equal(1, bus.Ports.LastEventVp);

        Assert.Equal(0u, bus.Guest.Modify(channel.ChannelId, 3));
        channel.Send([1], transactionId: 2);
        channel.Receive();

        Assert.Equal(3, bus.Ports.LastEventVp);
        Assert.NotEqual(0u, bus.Guest.Modify(channel.ChannelId, 4));
    }

    [Fact]
    public async Task A_connection_survives_save_and_restore_with_a_backlog_and_packets_in_the_ring()
    {
        using var bus = new BusFixture();
        var service = new EchoService();
        bus.Host.Offer(service);
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId, pagesEachWay: 2);
        channel.Send([1], transactionId: 1);
        channel.Receive();
        for (var i = 0; i < 500; i++)
        {
            service.Channel!.SendInBand(new byte[64], (ulong)i);
        }

        await bus.Host.StopAsync();
        channel.TrySend(VmBusPacketType.InBand, VmBusPacketFlags.None, 777, [1]);
        var state = new SavedStateWriter();
        bus.Host.Save(state);
        bus.Host.Restore(new SavedStateReader(state.WrittenSpan.ToArray()));
        bus.Host.Start();

        for (var i = 0; i < 500; i++)
        {
            Assert.Equal((ulong)i, channel.Receive().TransactionId);
        }

        Assert.Equal(777ul, channel.Receive().TransactionId);
        Assert.True(service.Channel!.IsRestored);
        bus.Guest.Close(channel);
    }

    [Fact]
    public void Rings_show_in_the_inspect_tree()
    {
        using var bus = new BusFixture();
        bus.Host.Offer(new EchoService());
        bus.Host.Start();
        using var channel = bus.Guest.Open(bus.Guest.ConnectAndEnumerate()[0].ChannelId);
        RoundTrip(channel);

        Assert.Equal(1L, Inspect(bus).Find($"channels/{channel.ChannelId}/ring/incoming/packets"));
    }

    // A channel closed before its thread has run never reaches its service; an answer proves that it has.
    private static void RoundTrip(GuestChannel channel)
    {
        channel.Send([1], transactionId: 1);
        channel.Receive();
    }

    private static InspectNode Inspect(BusFixture bus)
    {
        var node = new InspectNode();
        bus.Host.Inspect(node);
        return node;
    }
}
