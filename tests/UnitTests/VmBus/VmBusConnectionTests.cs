using CsCheck;
using Vitro.Foundation;
using Vitro.VmBus;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;
using Xunit;
using static Vitro.UnitTests.VmBus.ConnectionRecorder;

namespace Vitro.UnitTests.VmBus;

public sealed class VmBusConnectionTests
{
    private readonly ConnectionRecorder _bus = new();

    public static TheoryData<uint> Versions => [.. VmBusVersion.Supported.Select(version => version.Value)];

    [Theory]
    [MemberData(nameof(Versions))]
    public void Each_supported_version_is_accepted_with_the_right_message_connection(uint version)
    {
        _bus.Guest(new InitiateContact(new VmBusVersion(version), 1, 2, 0, 0));

        Assert.Equal(new VersionResponse(1, 0, 0, version >= 0x00050000 ? 4u : 1u), _bus.Last<VersionResponse>());
        Assert.Equal(1, _bus.Connection.MessageTargetVp);
    }

    [Theory]
    [InlineData(0x00020004u)]
    [InlineData(0x00050004u)]
    [InlineData(0x00060000u)]
    [InlineData(0u)]
    public void Other_versions_are_refused_with_an_answer(uint version)
    {
        _bus.Guest(new InitiateContact(new VmBusVersion(version), 0, 2, 0, 0));

        Assert.Equal(0, _bus.Last<VersionResponse>().VersionSupported);
        Assert.Null(_bus.Connection.Version);
    }

    [Fact]
    public void A_guest_below_5_0_gets_its_messages_on_the_default_sint_whatever_its_interrupt_page()
    {
        _bus.Guest(new InitiateContact(VmBusVersion.V4_1, 0, 0x1005, 0, 0));

        Assert.Equal(VmBusConnection.DefaultSint, _bus.Connection.MessageTargetSint);
    }

    [Fact]
    public void Offers_end_with_all_offers_delivered()
    {
        _bus.Connected();

        Assert.Equal(1, _bus.CountOf(ChannelMessageType.OfferChannel));
        Assert.Equal(ChannelMessageType.AllOffersDelivered, _bus.LastType);
        Assert.Equal(1, _bus.Last<OfferChannel>().IsDedicatedInterrupt);
    }

    [Fact]
    public void A_service_offered_later_is_announced_at_once()
    {
        _bus.Connected();
        _bus.Connection.Offer(NewOffer());

        Assert.Equal(2, _bus.CountOf(ChannelMessageType.OfferChannel));
    }

    [Fact]
    public void The_signal_port_exists_before_the_guest_hears_of_the_channel()
    {
        _bus.Connection.Offer(NewOffer());

        Assert.Equal(["add 1"], _bus.Actions);
        Assert.Empty(_bus.Sent);
    }

    [Fact]
    public void The_same_instance_is_not_offered_twice()
    {
        var offer = NewOffer();
        _bus.Connection.Offer(offer);

        Assert.Throws<InvalidOperationException>(() => _bus.Connection.Offer(offer));
    }

    [Fact]
    public void A_gpadl_stands_when_its_last_page_has_come()
    {
        var channel = _bus.Connected();
        _bus.Header(channel.ChannelId, 7, 2, Range(4097, 4095), 10, 11, Range(8192, 0), 12);
        Assert.Equal(0, _bus.CountOf(ChannelMessageType.GpadlCreated));
        _bus.Body(7, 13);

        Assert.Equal(new GpadlCreated(channel.ChannelId, 7, 0), _bus.Last<GpadlCreated>());
        Assert.True(_bus.Connection.TryGetGpadl(channel.ChannelId, 7, out var gpadl));
        Assert.Equal([10ul, 11], gpadl.Ranges[0].PageNumbers);
        Assert.Equal([12ul, 13], gpadl.Ranges[1].PageNumbers);
    }

    [Theory]
    [InlineData(0u, 0u, (ushort)1)]
    [InlineData(4096u, 4096u, (ushort)1)]
    [InlineData(4096u, 0u, (ushort)0)]
    [InlineData(uint.MaxValue, 4095u, (ushort)1, 8)]
    public void A_malformed_gpadl_is_refused_with_an_answer(uint byteCount, uint byteOffset, ushort rangeCount, int repeat = 1)
    {
        var channel = _bus.Connected();
        for (var i = 0u; i < repeat; i++)
        {
            _bus.Header(channel.ChannelId, 7 + i, rangeCount, Range(byteCount, byteOffset), 1);
        }

        Assert.NotEqual(0u, _bus.Last<GpadlCreated>().Status);
    }

    [Fact]
    public void A_gpadl_of_an_unknown_channel_or_with_a_used_handle_is_refused()
    {
        var channel = _bus.Connected();
        _bus.Header(99, 7, 1, Range(4096, 0), 1);
        Assert.NotEqual(0u, _bus.Last<GpadlCreated>().Status);

        _bus.Header(channel.ChannelId, 7, 1, Range(4096, 0), 1);
        Assert.Equal(0u, _bus.Last<GpadlCreated>().Status);
        _bus.Header(channel.ChannelId, 7, 1, Range(4096, 0), 1);
        Assert.NotEqual(0u, _bus.Last<GpadlCreated>().Status);
    }

    [Fact]
    public void Pages_of_refused_and_torn_down_gpadls_are_given_back()
    {
        var channel = _bus.Connected();
        for (var i = 0u; i < 5000; i++)
        {
            _bus.Header(channel.ChannelId, i, 2, Range(2 << 20, 0), 1);
            _bus.Guest(new GpadlTeardown(channel.ChannelId, i));
        }

        Assert.Equal(0, _bus.Connection.GpadlPageCount);
        Assert.Equal(5000, _bus.CountOf(ChannelMessageType.GpadlTorndown));
    }

    [Fact]
    public void Tearing_down_is_always_answered()
    {
        _bus.Connected();
        _bus.Guest(new GpadlTeardown(55, 66));

        Assert.Equal(new GpadlTorndown(66), _bus.Last<GpadlTorndown>());
    }

    [Fact]
    public void The_guest_hears_that_a_channel_is_open_before_the_service_runs()
    {
        var channel = _bus.Connected(open: true);

        Assert.Equal(0u, _bus.Last<OpenChannelResult>().Status);
        Assert.Equal($"start {channel.ChannelId}", _bus.Actions[^1]);
        Assert.Equal(ChannelState.Open, channel.State);
    }

    [Theory]
    [InlineData(0xE1E10u, 2u)]
    [InlineData(0x1234u, 0u)]
    public void Opens_with_a_wrong_processor_or_ring_are_refused_with_an_answer(uint gpadl, uint targetVp)
    {
        var channel = _bus.Connected();
        _bus.Header(channel.ChannelId, 0xE1E10, 1, Range(4 * 4096, 0), 1, 2, 3, 4);
        _bus.Open(channel, gpadl, targetVp);

        Assert.NotEqual(0u, _bus.Last<OpenChannelResult>().Status);
        Assert.Equal(ChannelState.Closed, channel.State);
    }

    [Fact]
    public void A_second_open_is_refused_and_the_first_stands()
    {
        var channel = _bus.Connected(open: true);
        _bus.Open(channel);

        Assert.NotEqual(0u, _bus.Last<OpenChannelResult>().Status);
        Assert.Equal(ChannelState.Open, channel.State);
    }

    [Fact]
    public void A_ring_is_torn_down_only_when_the_service_has_let_go()
    {
        var channel = _bus.Connected(open: true);
        _bus.Guest(new CloseChannel(channel.ChannelId));
        _bus.Guest(new GpadlTeardown(channel.ChannelId, 0xE1E10));
        _bus.Guest(new GpadlTeardown(channel.ChannelId, 0xE1E10));
        Assert.Equal(0, _bus.CountOf(ChannelMessageType.GpadlTorndown));

        _bus.Released();

        Assert.Equal(1, _bus.CountOf(ChannelMessageType.GpadlTorndown));
    }

    [Fact]
    public void Tearing_down_an_open_ring_closes_its_channel_first()
    {
        var channel = _bus.Connected(open: true);
        _bus.Guest(new GpadlTeardown(channel.ChannelId, 0xE1E10));
        Assert.Equal(ChannelState.Closing, channel.State);

        _bus.Released();

        Assert.Equal(new GpadlTorndown(0xE1E10), _bus.Last<GpadlTorndown>());
    }

    [Fact]
    public void An_open_while_the_service_is_closing_is_answered_when_it_has_closed()
    {
        var channel = _bus.Connected(open: true);
        _bus.Guest(new CloseChannel(channel.ChannelId));
        _bus.Open(channel);
        Assert.Equal(1, _bus.CountOf(ChannelMessageType.OpenChannelResult));

        _bus.Released();

        Assert.Equal(2, _bus.CountOf(ChannelMessageType.OpenChannelResult));
        Assert.Equal(ChannelState.Open, channel.State);
    }

    [Theory]
    [InlineData(0x00050003u, 1)]
    [InlineData(0x00050002u, 0)]
    [InlineData(0x00040001u, 0)]
    public void Moving_a_channel_is_answered_from_5_3_on_only(uint version, int answers)
    {
        var channel = _bus.Connected(version, open: true);
        _bus.Guest(new ModifyChannel(channel.ChannelId, 1));

        Assert.Equal(answers, _bus.CountOf(ChannelMessageType.ModifyChannelResponse));
        Assert.Equal(1u, channel.TargetVp);
    }

    [Fact]
    public void A_rescinded_number_is_used_again_only_after_its_release()
    {
        var channel = _bus.Connected(open: true);
        _bus.Connection.Rescind(channel);
        Assert.Equal(channel.ChannelId, _bus.Last<RescindChannelOffer>().ChannelId);
        _bus.Released();
        _bus.Guest(new CloseChannel(channel.ChannelId));
        Assert.NotNull(_bus.Connection.Find(channel.ChannelId));

        _bus.Guest(new RelIdReleased(channel.ChannelId));

        Assert.Null(_bus.Connection.Find(channel.ChannelId));
    }

    [Fact]
    public void A_release_that_comes_before_the_service_has_let_go_waits_for_it()
    {
        var channel = _bus.Connected(open: true);
        _bus.Connection.Rescind(channel);
        _bus.Guest(new RelIdReleased(channel.ChannelId));
        Assert.NotNull(_bus.Connection.Find(channel.ChannelId));

        _bus.Released();

        Assert.Null(_bus.Connection.Find(channel.ChannelId));
    }

    [Fact]
    public void Sub_channels_carry_their_index_and_go_with_their_primary_channel()
    {
        var channel = _bus.Connected(open: true);
        _bus.Connection.OfferSubChannels(channel, 9);
        Assert.Equal(5, _bus.CountOf(ChannelMessageType.OfferChannel));
        Assert.Equal(4, _bus.Last<OfferChannel>().SubChannelIndex);

        _bus.Guest(new CloseChannel(channel.ChannelId));

        Assert.Equal(4, _bus.CountOf(ChannelMessageType.RescindChannelOffer));
    }

    [Fact]
    public void Unload_is_answered_when_every_service_has_let_go_and_ends_the_queue()
    {
        _bus.Connected(open: true);
        _bus.Guest(ChannelMessageType.Unload);
        Assert.Equal(0, _bus.CountOf(ChannelMessageType.UnloadResponse));
        _bus.Guest(ChannelMessageType.RequestOffers);

        _bus.Released();

        Assert.Equal(ChannelMessageType.UnloadResponse, _bus.LastType);
        Assert.Equal("discard", _bus.Actions[^1]);
        Assert.Equal(0, _bus.Connection.GpadlCount);
    }

    [Fact]
    public void A_new_contact_is_answered_when_the_old_connection_has_ended()
    {
        var channel = _bus.Connected(open: true);
        _bus.Guest(new InitiateContact(VmBusVersion.V5_2, 0, 2, 0, 0));
        Assert.Equal(1, _bus.CountOf(ChannelMessageType.VersionResponse));

        _bus.Released();

        Assert.Equal(2, _bus.CountOf(ChannelMessageType.VersionResponse));
        Assert.Equal(VmBusVersion.V5_2, _bus.Connection.Version);
        Assert.False(channel.IsAnnounced);
    }

    [Fact]
    public void A_socket_request_is_refused_with_an_answer()
    {
        _bus.Connected();
        var request = new TlConnectRequest(Guid.NewGuid(), Guid.NewGuid());
        _bus.Guest(in request);

        Assert.Equal(
            new TlConnectResult(request.GuestEndpointId, request.HostServiceId, TlConnectResult.ConnectionRefused), _bus.Last<TlConnectResult>());
    }

    [Fact]
    public void Messages_without_a_connection_are_dropped()
    {
        _bus.Guest(ChannelMessageType.RequestOffers);
        _bus.Guest(new CloseChannel(1));

        Assert.Empty(_bus.Sent);
        Assert.Equal(2, _bus.Violations);
    }

    [Fact]
    public void A_saved_connection_is_the_same_when_restored()
    {
        var channel = _bus.Connected(open: true);
        _bus.Connection.OfferSubChannels(channel, 2);
        _bus.Header(channel.ChannelId, 9, 1, Range(8192, 100), 5, 6, 7);
        _bus.Header(channel.ChannelId, 10, 2, Range(8192, 0), 5);
        var state = new SavedStateWriter();
        _bus.Connection.Save(state);
        var other = new ConnectionRecorder();
        other.Connection.Offer(channel.Offer);
        var reopened = new List<uint>();

        other.Connection.Restore(new SavedStateReader(state.WrittenSpan.ToArray()), (open, _) =>
        {
            reopened.Add(open.ChannelId);
            return true;
        });

        Assert.Equal([channel.ChannelId], reopened);
        Assert.Equal(3, other.Connection.Channels.Count);
        other.Body(10, 6, Range(1, 0), 8);
        Assert.Equal(new GpadlCreated(channel.ChannelId, 10, 0), other.Last<GpadlCreated>());
        Assert.Equal(_bus.Connection.GpadlCount + 1, other.Connection.GpadlCount);
        var again = new SavedStateWriter();
        _bus.Connection.Save(again);
        Assert.Equal(state.WrittenSpan, again.WrittenSpan);
    }

    [Fact]
    public void Random_messages_never_hurt_and_what_guests_wait_for_is_answered()
    {
        var bytes = Gen.Byte.Array[0, 240];
        var types = Gen.OneOf(Gen.UInt[0, 30], Gen.UInt);
        Gen.Select(types, bytes).Array[0, 200].Sample(messages =>
        {
            var bus = new ConnectionRecorder();
            bus.Connected(open: true);
            foreach (var (type, body) in messages)
            {
                if (body.Length >= 4)
                {
                    BitConverter.TryWriteBytes(body, type);
                }

                if (body.Length >= 12)
                {
                    body.AsSpan(9, 3).Clear();
                    body[8] %= 4;
                }

                bus.Connection.OnMessage(body);
                bus.Released();
            }

            // Whatever came, a guest that starts anew is served.
            bus.Guest(new InitiateContact(VmBusVersion.V5_3, 0, 2, 0, 0));
            bus.Released();
            Assert.Equal(1, bus.Last<VersionResponse>().VersionSupported);
            Assert.Equal(0, bus.Connection.GpadlPageCount);
        }, iter: 500, seed: "0000KOIPSj1Y");
    }
}
