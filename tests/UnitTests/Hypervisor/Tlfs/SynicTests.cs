using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs.Synic;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class SynicTests : IDisposable
{
    private const ulong Slot = TlfsFixture.MessagePage + 0x200;
    private const ulong Flags = TlfsFixture.EventPage + 0x200;
    private const uint Eom = 0x4000_0084;
    private const uint Sint2 = 0x4000_0092;
    private const ulong Masked = 1 << 16;
    private const ulong AutoEoi = 1 << 17;
    private const ulong Polling = 1 << 18;
    private readonly TlfsFixture _fixture = new();

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void Registers_have_their_reset_values()
    {
        Assert.Equal(0UL, _fixture.Read(0x4000_0080));
        Assert.Equal(1UL, _fixture.Read(0x4000_0081));
        Assert.Equal(0UL, _fixture.Read(0x4000_0082));
        Assert.Equal(0UL, _fixture.Read(0x4000_0083));
        Assert.Equal(Masked, _fixture.Read(Sint2));
    }

    [Fact]
    public void A_message_is_written_whole_and_interrupts()
    {
        _fixture.EnableSynic();

        Assert.True(_fixture.Ports.TryPostMessage(0, 2, 1, 0x1234, "offer"u8));

        Assert.Equal(1u, _fixture.ReadUInt32(Slot));
        Assert.Equal(5u, _fixture.ReadUInt32(Slot + 4));
        Assert.Equal(0x1234UL, _fixture.ReadUInt64(Slot + 8));
        var payload = new byte[5];
        _fixture.Gpa.TryRead(Slot + 16, payload);
        Assert.Equal("offer"u8, payload);
        Assert.Equal([(0, TlfsFixture.Vector, false)], _fixture.Raised);
    }

    [Fact]
    public void A_busy_slot_gets_the_pending_flag_and_the_next_message_follows_at_its_end()
    {
        _fixture.EnableSynic();
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, "a"u8);
        _fixture.Ports.TryPostMessage(0, 2, 2, 0, "bb"u8);
        Assert.Equal(1u, _fixture.ReadUInt32(Slot));
        Assert.Equal(0x101u, _fixture.ReadUInt32(Slot + 4));

        _fixture.WriteUInt32(Slot, 0);
        _fixture.Write(Eom, 0);

        Assert.Equal(2u, _fixture.ReadUInt32(Slot));
        Assert.Equal(2u, _fixture.ReadUInt32(Slot + 4));
        Assert.Equal(2, _fixture.Raised.Count);
    }

    [Fact]
    public void A_message_before_another_says_that_more_follows()
    {
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        _fixture.Ports.TryPostMessage(0, 2, 2, 0, default);

        _fixture.EnableSynic();

        Assert.Equal(1u, _fixture.ReadUInt32(Slot));
        Assert.Equal(0x100u, _fixture.ReadUInt32(Slot + 4));
    }

    [Fact]
    public void A_slot_that_was_freed_without_the_flag_being_seen_is_filled_at_the_next_message()
    {
        _fixture.EnableSynic();
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        _fixture.WriteUInt32(Slot, 0);

        _fixture.Ports.TryPostMessage(0, 2, 2, 0, default);

        Assert.Equal(2u, _fixture.ReadUInt32(Slot));
    }

    [Fact]
    public void Messages_keep_their_order()
    {
        _fixture.EnableSynic();
        var seen = new List<uint>();
        for (var i = 1u; i <= 50; i++)
        {
            _fixture.Ports.TryPostMessage(0, 2, i, 0, default);
        }

        while (_fixture.ReadUInt32(Slot) is var type and not 0)
        {
            seen.Add(type);
            _fixture.WriteUInt32(Slot, 0);
            _fixture.Write(Eom, 0);
        }

        Assert.Equal(Enumerable.Range(1, 50).Select(i => (uint)i), seen);
    }

    [Fact]
    public void Messages_for_a_masked_sint_wait_until_it_is_unmasked()
    {
        _fixture.EnableSynic(sintValue: Masked);
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        Assert.Equal(0u, _fixture.ReadUInt32(Slot));

        _fixture.Write(Sint2, TlfsFixture.Vector);

        Assert.Equal(1u, _fixture.ReadUInt32(Slot));
    }

    [Fact]
    public void A_polled_sint_gets_messages_and_events_without_interrupts()
    {
        _fixture.EnableSynic(sintValue: Polling);

        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        Assert.True(_fixture.Ports.TrySignalEvent(0, 2, 5));

        Assert.Equal(1u, _fixture.ReadUInt32(Slot));
        Assert.Equal(32UL, _fixture.ReadUInt64(Flags));
        Assert.Empty(_fixture.Raised);
    }

    [Fact]
    public void Automatic_end_of_interrupt_is_passed_on()
    {
        _fixture.EnableSynic(sintValue: TlfsFixture.Vector | AutoEoi);

        _fixture.Ports.TrySignalEvent(0, 2, 1);

        Assert.Equal([(0, TlfsFixture.Vector, true)], _fixture.Raised);
    }

    [Fact]
    public void An_exceptions_vector_is_refused_unless_masked()
    {
        Assert.False(_fixture.Write(Sint2, 14));
        Assert.True(_fixture.Write(Sint2, 14 | Masked));
    }

    [Fact]
    public void A_full_queue_refuses_and_loses_nothing()
    {
        for (var i = 0; i < ISynicPorts.MessageQueueLimit; i++)
        {
            Assert.True(_fixture.Ports.TryPostMessage(1, 2, 1, 0, default));
        }

        Assert.False(_fixture.Ports.TryPostMessage(1, 2, 1, 0, default));
        Assert.Equal(ISynicPorts.MessageQueueLimit, _fixture.Ports.GetQueuedMessageCount(1, 2));
    }

    [Fact]
    public void Discarded_messages_are_gone()
    {
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);

        _fixture.Ports.DiscardMessages(0, 2);
        _fixture.EnableSynic();

        Assert.Equal(0u, _fixture.ReadUInt32(Slot));
    }

    [Theory]
    [InlineData(2, 2)]
    [InlineData(-1, 2)]
    [InlineData(0, 16)]
    [InlineData(0, -1)]
    public void Targets_that_do_not_exist_are_refused(int vp, int sint)
    {
        Assert.False(_fixture.Ports.TryPostMessage(vp, sint, 1, 0, default));
        Assert.False(_fixture.Ports.TrySignalEvent(vp, sint, 1));
        Assert.Equal(0, _fixture.Ports.GetQueuedMessageCount(vp, sint));
    }

    [Fact]
    public void An_event_interrupts_when_its_flag_was_clear()
    {
        _fixture.EnableSynic();
        _fixture.Ports.TrySignalEvent(0, 2, 70);
        _fixture.Ports.TrySignalEvent(0, 2, 70);
        Assert.Equal(64UL, _fixture.ReadUInt64(Flags + 8));
        Assert.Single(_fixture.Raised);

        _fixture.WriteUInt64(Flags + 8, 0);
        _fixture.Ports.TrySignalEvent(0, 2, 70);

        Assert.Equal(2, _fixture.Raised.Count);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(2048)]
    public void Event_flags_beyond_the_page_are_refused(int flag)
    {
        _fixture.EnableSynic();

        Assert.False(_fixture.Ports.TrySignalEvent(0, 2, flag));
    }

    [Fact]
    public void Events_for_a_disabled_page_are_reported_lost()
    {
        _fixture.EnableSynic();
        _fixture.Write(0x4000_0082, 0);

        Assert.False(_fixture.Ports.TrySignalEvent(0, 2, 1));
    }

    [Fact]
    public void Pages_are_cleared_when_they_are_placed_and_kept_when_rewritten()
    {
        _fixture.WriteUInt32(Slot, 77);
        _fixture.EnableSynic();
        Assert.Equal(0u, _fixture.ReadUInt32(Slot));
        _fixture.WriteUInt32(Slot, 78);

        _fixture.Write(0x4000_0083, TlfsFixture.MessagePage | 1);

        Assert.Equal(78u, _fixture.ReadUInt32(Slot));
    }

    [Fact]
    public async Task A_stopped_machines_memory_is_left_alone()
    {
        _fixture.EnableSynic();
        await _fixture.Interface.StopAsync();

        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);

        Assert.False(_fixture.Ports.TrySignalEvent(0, 2, 1));
        Assert.Equal(0u, _fixture.ReadUInt32(Slot));
        _fixture.Interface.Start();
        Assert.Equal(1u, _fixture.ReadUInt32(Slot));
    }

    [Fact]
    public void Reset_drops_messages_and_disables_everything()
    {
        _fixture.EnableSynic();
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, default);
        _fixture.Ports.TryPostMessage(0, 2, 2, 0, default);

        _fixture.Interface.Reset(ResetKind.Warm);

        Assert.Equal(0, _fixture.Ports.GetQueuedMessageCount(0, 2));
        Assert.Equal(0UL, _fixture.Read(0x4000_0083));
    }

    [Fact]
    public void Signalling_and_posting_allocate_nothing()
    {
        _fixture.EnableSynic();
        _fixture.OnRaise = static (_, _) => { };
        var payload = new byte[200];
        Exchange(payload);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
        {
            Exchange(payload);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private void Exchange(byte[] payload)
    {
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, payload);
        _fixture.Ports.TryPostMessage(0, 2, 1, 0, payload);
        _fixture.WriteUInt32(Slot, 0);
        _fixture.Write(Eom, 0);
        _fixture.WriteUInt32(Slot, 0);
        _fixture.Ports.TrySignalEvent(0, 2, 3);
        _fixture.WriteUInt64(Flags, 0);
    }
}
