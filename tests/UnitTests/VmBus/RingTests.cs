using CsCheck;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Rings;
using Xunit;

namespace Vitro.UnitTests.VmBus;

public sealed class RingTests : IDisposable
{
    private readonly GuestMemory _ram = GuestMemory.Create(4 << 20);
    private readonly GpaSpace _memory;

    public RingTests() => _memory = new GpaSpace(_ram);

    public void Dispose()
    {
        _memory.Dispose();
        _ram.Dispose();
    }

    [Fact]
    public void A_ring_behaves_as_a_queue_whatever_is_written_and_read()
    {
        // Writes of some length, or -1 for a read.
        Gen.Int[-1, 900].Array[0, 300].Sample(steps =>
        {
            var ring = NewRing(pages: 3, scatter: true);
            var writer = new RingWriter(ring);
            var reader = new RingReader(ring);
            var model = new Queue<(ulong Id, byte[] Payload)>();
            var id = 0ul;
            foreach (var step in steps)
            {
                if (step >= 0)
                {
                    var payload = new byte[step];
                    new Random((int)id).NextBytes(payload);
                    if (writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.CompletionRequested, id, payload))
                    {
                        writer.Publish();
                        model.Enqueue((id, payload));
                    }

                    id++;
                }
                else
                {
                    var result = reader.TryRead(out var packet, out _);
                    Assert.Equal(model.Count > 0 ? RingReadResult.Packet : RingReadResult.Empty, result);
                    if (model.TryDequeue(out var expected))
                    {
                        Assert.Equal(expected.Id, packet.TransactionId);
                        Assert.Equal(expected.Payload, packet.Payload[..expected.Payload.Length]);
                        Assert.Equal((expected.Payload.Length + 7) & ~7, packet.Payload.Length);
                    }
                }
            }
        }, iter: 300, seed: "0000KOIPSj1Z", threads: 1);
    }

    [Fact]
    public void The_writer_never_fills_the_ring_to_the_last_byte()
    {
        var ring = NewRing(pages: 2);
        var writer = new RingWriter(ring);
        while (writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, new byte[8]))
        {
        }

        writer.Publish();
        Assert.NotEqual(ring.ReadIndex, ring.WriteIndex);
        Assert.Equal(32u, ring.PendingSendSize);
    }

    [Fact]
    public void A_batch_that_fills_the_ring_is_visible_before_the_wish_for_room_and_its_signal_is_not_lost()
    {
        var ring = NewRing(pages: 2);
        var writer = new RingWriter(ring);
        while (writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, new byte[8]))
        {
        }

        // The reader takes a packet before the batch is published: by an older index the ring would seem to have had room all along.
        Assert.Equal(RingReadResult.Packet, new RingReader(ring).TryRead(out _, out var writerWaits));
        Assert.True(writerWaits);
        Assert.True(writer.Publish());
        Assert.False(writer.Publish());
    }

    [Fact]
    public void Only_the_step_from_empty_signals_and_only_when_the_mask_is_clear()
    {
        var ring = NewRing(pages: 2);
        var writer = new RingWriter(ring);
        Assert.True(Write(writer));
        Assert.False(Write(writer));

        var reader = new RingReader(ring);
        while (reader.TryRead(out _, out _) == RingReadResult.Packet)
        {
        }

        ring.InterruptMask = 1;
        Assert.False(Write(writer));
    }

    [Fact]
    public void The_reader_masks_signals_while_it_reads_and_unmasks_when_it_finds_nothing()
    {
        var ring = NewRing(pages: 2);
        var writer = new RingWriter(ring);
        Write(writer);
        var reader = new RingReader(ring);

        reader.TryRead(out _, out _);
        Assert.Equal(1u, ring.InterruptMask);
        Assert.Equal(RingReadResult.Empty, reader.TryRead(out _, out _));
        Assert.Equal(0u, ring.InterruptMask);
    }

    [Fact]
    public void Crossing_the_size_the_writer_waits_for_is_told_once()
    {
        var ring = NewRing(pages: 2);
        var writer = new RingWriter(ring);
        while (writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, new byte[100]))
        {
        }

        writer.Publish();
        ring.PendingSendSize = 1000;
        var reader = new RingReader(ring);
        var told = 0;
        while (reader.TryRead(out _, out var writerWaits) == RingReadResult.Packet)
        {
            told += writerWaits ? 1 : 0;
        }

        Assert.Equal(1, told);
    }

    [Theory]
    [InlineData(0, 4)]
    [InlineData(0, 4096)]
    [InlineData(0, 0xFFFF_FFF8)]
    public void An_index_that_is_none_breaks_the_ring_for_good(int _, uint index)
    {
        var ring = NewRing(pages: 2);
        var reader = new RingReader(ring);
        ring.WriteIndex = index;

        Assert.Equal(RingReadResult.Broken, reader.TryRead(out var _, out var _));
        ring.WriteIndex = 0;
        Assert.Equal(RingReadResult.Broken, reader.TryRead(out var _, out var _));
    }

    [Fact]
    public void Random_bytes_and_indexes_in_a_ring_never_hurt()
    {
        Gen.Select(Gen.Byte.Array[8192], Gen.UInt, Gen.UInt, Gen.UInt).Sample((content, write, read, pending) =>
        {
            var ring = NewRing(pages: 3, content);
            ring.WriteIndex = write % 8200 & ~7u;
            ring.PendingSendSize = pending;
            var reader = new RingReader(ring);
            for (var i = 0; i < 600 && reader.TryRead(out var packet, out _) == RingReadResult.Packet; i++)
            {
                foreach (var range in packet.Ranges)
                {
                    Assert.NotEqual(0u, range.ByteCount);
                }
            }

            ring.ReadIndex = read;
            new RingWriter(ring).TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 1, new byte[64]);
        }, iter: 2000, seed: "0000KOIPSj1X", threads: 1);
    }

    [Fact]
    public void Reader_and_writer_on_two_threads_lose_no_wake_up()
    {
        const int Count = 200_000;
        var ring = NewRing(pages: 2);
        using var packets = new AutoResetEvent(initialState: false);
        using var room = new AutoResetEvent(initialState: false);
        var limit = TimeSpan.FromSeconds(20);
        var lost = false;
        var producer = new Thread(() =>
        {
            var writer = new RingWriter(ring);
            var payload = new byte[512];
            for (var i = 0; i < Count && !lost; i++)
            {
                while (!writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, (ulong)i, payload.AsSpan(0, i % 500)))
                {
                    if (!room.WaitOne(limit))
                    {
                        lost = true;
                        return;
                    }
                }

                if (writer.Publish())
                {
                    packets.Set();
                }
            }
        });
        producer.Start();
        var reader = new RingReader(ring);
        for (var i = 0; i < Count;)
        {
            var result = reader.TryRead(out var packet, out var writerWaits);
            if (writerWaits)
            {
                room.Set();
            }

            if (result == RingReadResult.Packet)
            {
                Assert.Equal((ulong)i++, packet.TransactionId);
            }
            else
            {
                Assert.Equal(RingReadResult.Empty, result);
                Assert.True(packets.WaitOne(limit), "A wake-up was lost.");
            }
        }

        producer.Join();
        Assert.False(lost);
    }

    [Fact]
    public void Passing_packets_allocates_nothing()
    {
        var ring = NewRing(pages: 4);
        var writer = new RingWriter(ring);
        var reader = new RingReader(ring);
        var payload = new byte[700];
        Pass(10);
        var before = GC.GetAllocatedBytesForCurrentThread();

        Pass(5000);

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Pass(int count)
        {
            for (var i = 0; i < count; i++)
            {
                writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 1, payload);
                writer.Publish();
                reader.TryRead(out _, out _);
            }
        }
    }

    private static bool Write(RingWriter writer)
    {
        Assert.True(writer.TryWrite(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, new byte[8]));
        return writer.Publish();
    }

    private RingMemory NewRing(int pages, byte[]? content = null, bool scatter = false)
    {
        var numbers = new ulong[pages];
        for (var i = 0; i < pages; i++)
        {
            numbers[i] = 16 + (ulong)(scatter ? pages - 1 - i : i);
        }

        Assert.True(RingMemory.TryMap(_memory, numbers, out var ring));
        ring.Initialize();
        for (var i = 1; content is not null && i < pages; i++)
        {
            _memory.TryWrite(numbers[i] * 4096, content.AsSpan((i - 1) * 4096, 4096));
        }

        return ring;
    }
}
