using System.Buffers.Binary;
using Microsoft.Extensions.Time.Testing;
using Vitro.Foundation;
using Vitro.VmBus;
using Vitro.Vsp.Integration;
using Vitro.Vsp.Integration.Heartbeat;
using Xunit;

namespace Vitro.UnitTests.Vsp.Integration;

public sealed class HeartbeatServiceTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly VmClock _clock;
    private readonly List<HeartbeatState> _changes = [];
    private readonly HeartbeatService _service;
    private readonly IcGuest _guest;

    public HeartbeatServiceTests()
    {
        _clock = new VmClock(_time);
        _service = new HeartbeatService(_clock, _changes.Add);
        _guest = new IcGuest(_service, (3, 0), (1, 0));
        _service.Start();
    }

    public void Dispose() => _clock.Dispose();

    [Fact]
    public void The_best_version_of_the_guest_is_taken()
    {
        _guest.Connect();

        Assert.Equal(IcContact.Ready, _service.Contact);
        Assert.Equal("3.0", _service.Version.ToString());
    }

    [Fact]
    public void A_guest_may_refuse_all_versions()
    {
        var guest = new IcGuest(_service);

        guest.Connect();
        Beat(guest);

        Assert.Equal(IcContact.Refused, _service.Contact);
        Assert.Empty(guest.Channel.ToGuest);
    }

    [Fact]
    public void A_version_that_was_not_offered_is_a_refusal()
    {
        _guest.Channel.Open();
        var packet = _guest.Channel.Take();
        packet[28] = 1;
        packet[30] = 1;
        packet[40] = 9;

        _guest.Answer(packet);

        Assert.Equal(IcContact.Refused, _service.Contact);
    }

    [Fact]
    public void Answers_make_the_state_ok()
    {
        _guest.Connect();
        Assert.Equal(HeartbeatState.NoContact, _service.State);

        AnswerBeat();

        Assert.Equal(HeartbeatState.Ok, _service.State);
        Assert.Equal([HeartbeatState.Ok], _changes);
    }

    [Fact]
    public void A_beat_has_linuxs_layout_and_framework()
    {
        _guest.Connect();

        var packet = _guest.Channel.Take();

        Assert.Equal(28 + 40, packet.Length);
        Assert.Equal("010000003C00000003000000010003000000280000000000", Convert.ToHexString(packet.AsSpan(0, 24)));
        Assert.Equal(3, packet[25]);
    }

    [Fact]
    public void A_guest_that_stops_answering_is_lost_after_ten_seconds_and_found_again_by_its_next_answer()
    {
        _guest.Connect();
        AnswerBeat();
        for (var i = 0; i < HeartbeatService.MissedBeatLimit; i++)
        {
            Beat(_guest);
            Assert.Equal(HeartbeatState.Ok, _service.State);
        }

        Beat(_guest);
        Assert.Equal(HeartbeatState.LostCommunication, _service.State);

        AnswerBeat();
        Assert.Equal(HeartbeatState.Ok, _service.State);
    }

    [Fact]
    public void A_guest_that_answers_every_beat_is_never_lost()
    {
        _guest.Connect();
        AnswerBeat();
        for (var i = 0; i < 50; i++)
        {
            Beat(_guest);
            AnswerBeat();
        }

        Assert.Equal([HeartbeatState.Ok], _changes);
    }

    [Fact]
    public void A_guest_that_does_not_read_costs_nothing_and_is_lost()
    {
        _guest.Connect();
        AnswerBeat();
        _guest.Channel.Room = 2;

        for (var i = 0; i < 20; i++)
        {
            Beat(_guest);
        }

        Assert.Equal(2, _guest.Channel.ToGuest.Count);
        Assert.Equal(HeartbeatState.LostCommunication, _service.State);
    }

    [Fact]
    public void Closing_the_channel_ends_contact()
    {
        _guest.Connect();
        AnswerBeat();

        _guest.Channel.Close();

        Assert.Equal(HeartbeatState.NoContact, _service.State);
        Assert.Equal(IcContact.None, _service.Contact);
    }

    [Fact]
    public void A_paused_machine_misses_no_beats()
    {
        _guest.Connect();
        AnswerBeat();
        _clock.Pause();

        _time.Advance(TimeSpan.FromHours(1));

        Assert.Equal(HeartbeatState.Ok, _service.State);
    }

    [Fact]
    public void Malformed_packets_are_counted_and_ignored()
    {
        _guest.Connect();
        AnswerBeat();

        _guest.Channel.FromGuest(new byte[5]);
        _guest.Channel.FromGuest(new byte[100], VmBusPacketType.GpaDirect);
        var wrong = new byte[100];
        wrong[12] = 77;
        _guest.Channel.FromGuest(wrong);

        var node = new InspectNode();
        _service.Inspect(node);
        Assert.Equal(3L, node.Find("malformed"));
        Assert.Equal(HeartbeatState.Ok, _service.State);
    }

    [Fact]
    public void State_survives_save_and_restore_without_a_new_negotiation()
    {
        _guest.Connect();
        AnswerBeat();
        var writer = new SavedStateWriter();
        _service.Save(writer);

        var restored = new HeartbeatService(_clock);
        restored.Restore(new SavedStateReader(writer.WrittenSpan.ToArray()));
        var channel = new FakeChannel(restored) { IsRestored = true };
        restored.Start();
        channel.Open();

        Assert.Equal(HeartbeatState.Ok, restored.State);
        Assert.Equal(IcContact.Ready, restored.Contact);
        _time.Advance(TimeSpan.FromSeconds(2));
        var beat = channel.Take();
        Assert.Equal(2UL, BinaryPrimitives.ReadUInt64LittleEndian(beat.AsSpan(28)));
    }

    [Fact]
    public void Nonsense_as_saved_state_is_refused()
    {
        var writer = new SavedStateWriter();
        writer.Byte(1, 77);

        Assert.Throws<SavedStateException>(() => _service.Restore(new SavedStateReader(writer.WrittenSpan.ToArray())));
    }

    private void Beat(IcGuest guest)
    {
        _time.Advance(TimeSpan.FromSeconds(2));
        guest.Channel.Pump();
    }

    private void AnswerBeat()
    {
        byte[]? packet = null;
        _guest.Channel.Pump();
        while (_guest.Channel.ToGuest.Count > 0)
        {
            packet = _guest.Channel.Take();
        }

        packet![28]++;
        _guest.Answer(packet);
    }
}
