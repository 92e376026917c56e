using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Fuzz.Targets;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Rings;
using Vitro.Vsp.Storage;
using Xunit;

namespace Vitro.UnitTests.Vsp.Storage;

public sealed class StorageControllerTests
{
    [Theory]
    [InlineData((ushort)0x0602)]
    [InlineData((ushort)0x0600)]
    [InlineData((ushort)0x0501)]
    public void Each_version_initialises_and_answers_with_whole_packets(ushort version)
    {
        using var storage = new StorageFixture();
        storage.Initialize(version);

        Assert.Equal(version, storage.Controller.ProtocolVersion);
        Assert.Equal(1, storage.Execute([0, 0, 0, 0, 0, 0]).SrbStatus);
    }

    [Fact]
    public void Unknown_versions_are_refused_and_the_next_may_be_tried()
    {
        using var storage = new StorageFixture();
        storage.Control(StorvspOperation.BeginInitialization);

        Assert.NotEqual(0u, storage.Control(StorvspOperation.QueryProtocolVersion, 0x0700).Status);
        Assert.Equal(0u, storage.Control(StorvspOperation.QueryProtocolVersion, 0x0602).Status);
    }

    [Fact]
    public void Properties_tell_transfer_size_and_channels()
    {
        using var storage = new StorageFixture(maximumSubChannels: 3);
        storage.Control(StorvspOperation.BeginInitialization);
        storage.Control(StorvspOperation.QueryProtocolVersion, 0x0602);

        var packet = storage.Control(StorvspOperation.QueryProperties).Packet;

        Assert.Equal(3, BinaryPrimitives.ReadUInt16LittleEndian(packet.AsSpan(16)));
        Assert.Equal(1u, BinaryPrimitives.ReadUInt32LittleEndian(packet.AsSpan(20)));
        Assert.Equal((uint)StorageController.MaximumTransfer, BinaryPrimitives.ReadUInt32LittleEndian(packet.AsSpan(24)));
    }

    [Fact]
    public void A_request_before_the_end_of_initialisation_is_refused()
    {
        using var storage = new StorageFixture();

        Assert.NotEqual(0u, storage.Execute([0, 0, 0, 0, 0, 0]).Status);
    }

    [Fact]
    public void What_is_written_is_read_back_at_any_byte_offset_of_a_page()
    {
        using var storage = new StorageFixture().Initialize();
        var random = new Random(1);
        random.NextBytes(storage.Data(512 + 8192));
        var expected = storage.Data(512 + 8192)[512..].ToArray();

        var write = storage.Execute([0x2A, 0, 0, 0, 0, 8, 0, 0, 16, 0], 8192, toDisk: true, offset: 512);
        storage.Data(512 + 8192).Clear();
        var read = storage.Execute([0x28, 0, 0, 0, 0, 8, 0, 0, 16, 0], 8192, offset: 512);

        Assert.Equal((1, 8192), (write.SrbStatus, write.Transferred));
        Assert.Equal((1, 8192), (read.SrbStatus, read.Transferred));
        Assert.Equal(expected, storage.Disk.Content.AsSpan(8 * 512, 8192).ToArray());
        Assert.Equal(expected, storage.Data(512 + 8192)[512..].ToArray());
    }

    [Fact]
    public void A_read_marks_the_guest_pages_it_filled_as_written()
    {
        using var storage = new StorageFixture().Initialize();
        ClearDirty(storage);

        storage.Execute([0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], 4096);

        Assert.True(IsDirty(storage));
    }

    [Fact]
    public void Many_requests_are_in_flight_at_a_time_and_complete_in_any_order()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Disk.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var open = new HashSet<ulong>();
        for (var i = 0; i < 100; i++)
        {
            open.Add(storage.Send([0x28, 0, 0, 0, 0, (byte)i, 0, 0, 1, 0], 512));
        }

        storage.Disk.Gate.SetResult();
        for (var i = 0; i < 100; i++)
        {
            var answer = storage.Receive();
            Assert.Equal(1, answer.SrbStatus);
            Assert.True(open.Remove(answer.Transaction));
        }
    }

    [Fact]
    public void More_requests_than_the_depth_wait_in_the_ring_and_all_complete()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Disk.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        const int Count = 2000;
        var sender = new Thread(() =>
        {
            for (var i = 0; i < Count; i++)
            {
                storage.Send([0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0], 512);
                if (i == 600)
                {
                    storage.Disk.Gate.SetResult();
                }
            }
        });
        sender.Start();

        for (var i = 0; i < Count; i++)
        {
            Assert.Equal(1, storage.Receive().SrbStatus);
        }

        sender.Join();
    }

    [Fact]
    public void Sub_channels_carry_requests_without_initialisation()
    {
        using var storage = new StorageFixture(maximumSubChannels: 2).Initialize();

        Assert.Equal(0u, storage.Control(StorvspOperation.CreateSubChannels, 2).Status);
        var offer = storage.Bus.Guest.WaitForOffers(3)[1];
        using var channel = storage.Bus.Guest.Open(offer.ChannelId);
        var transaction = storage.Send([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, channel: channel);

        Assert.Equal(1, storage.Receive(transaction, channel).SrbStatus);
        Assert.NotEqual(0u, storage.Control(StorvspOperation.CreateSubChannels, 3).Status);
    }

    [Fact]
    public void Inquiry_of_an_absent_unit_says_that_nothing_is_there()
    {
        using var storage = new StorageFixture().Initialize();

        var inquiry = storage.Execute([0x12, 0, 0, 0, 36, 0], 36, lun: 5);
        Assert.Equal(1, inquiry.SrbStatus);
        Assert.Equal(0x7F, storage.Data(36)[0]);

        var ready = storage.Execute([0, 0, 0, 0, 0, 0], lun: 5);
        Assert.Equal((byte)(0x20 | 0x80), ready.SrbStatus);
        Assert.Equal(2, ready.ScsiStatus);
        Assert.Equal((5, 0x25, 0), ready.Sense);
    }

    [Fact]
    public void An_empty_target_has_an_empty_list_of_units()
    {
        using var storage = new StorageFixture().Initialize();

        var answer = storage.Execute([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64, target: 1);

        Assert.Equal((1, 8), (answer.SrbStatus, answer.Transferred));
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32BigEndian(storage.Data(4)));
    }

    [Fact]
    public async Task A_disk_that_comes_or_goes_makes_the_guest_look()
    {
        using var storage = new StorageFixture().Initialize();

        storage.Controller.AddDisk(7, new MemoryDisk(1 << 20));
        var added = storage.Channel.Receive();
        Assert.Equal(0ul, added.TransactionId);
        Assert.Equal(VmBusPacketType.InBand, added.Type);
        Assert.Equal((uint)StorvspOperation.EnumerateBus, BinaryPrimitives.ReadUInt32LittleEndian(added.Payload));
        Assert.Equal(24, storage.Execute([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64).Transferred);
        Assert.Equal(7, storage.Data(64)[17]);

        Assert.True(await storage.Controller.RemoveDiskAsync(7));
        storage.Channel.Receive();
        Assert.Equal((byte)(0x20 | 0x80), storage.Execute([0, 0, 0, 0, 0, 0], lun: 7).SrbStatus);
    }

    [Fact]
    public async Task Removing_a_disk_waits_for_its_commands()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Disk.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        storage.Send([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
        storage.Execute([0, 0, 0, 0, 0, 0]);

        var removal = storage.Controller.RemoveDiskAsync(0).AsTask();
        Assert.False(removal.IsCompleted);
        storage.Disk.Gate.SetResult();

        Assert.True(await removal);
    }

    [Fact]
    public void A_failing_disk_ends_in_sense_data_and_never_in_silence()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Disk.Fails = true;

        var read = storage.Execute([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
        var write = storage.Execute([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, toDisk: true);

        Assert.Equal((0x84, 0, (3, 0x11, 0)), (read.SrbStatus, read.Transferred, read.Sense));
        Assert.Equal((0x84, 0, (3, 0x0C, 0)), (write.SrbStatus, write.Transferred, write.Sense));
    }

    [Fact]
    public void Pages_outside_guest_memory_make_an_invalid_request()
    {
        using var storage = new StorageFixture().Initialize();

        var answer = storage.Receive(storage.Send([0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], 4096, page: 1UL << 40));

        Assert.Equal((byte)SrbStatus.InvalidRequest, answer.SrbStatus);
    }

    [Fact]
    public void Resets_are_answered()
    {
        using var storage = new StorageFixture().Initialize();

        Assert.Equal(0u, storage.Control(StorvspOperation.ResetBus).Status);
        Assert.Equal(0u, storage.Control(StorvspOperation.ResetLun).Status);
    }

    [Fact]
    public async Task Stopping_ends_what_is_in_flight_and_leaves_the_rest_in_the_ring()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Disk.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        storage.Send([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
        storage.Execute([0, 0, 0, 0, 0, 0]);
        var stop = storage.Controller.StopAsync().AsTask();
        Assert.False(stop.IsCompleted);
        storage.Disk.Gate.SetResult();
        await stop;
        storage.Receive();
        var late = storage.Send([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
        Assert.False(storage.Channel.TryReceive(out _));

        var state = new SavedStateWriter();
        storage.Controller.Save(state);
        storage.Controller.Restore(new SavedStateReader(state.WrittenSpan.ToArray()));
        storage.Controller.Start();

        Assert.Equal(1, storage.Receive(late).SrbStatus);
    }

    [Fact]
    public async Task A_channel_closes_only_when_its_requests_have_ended()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Disk.Gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        storage.Send([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
        storage.Execute([0, 0, 0, 0, 0, 0]);
        var closing = Task.Run(() => storage.Bus.Guest.Close(storage.Channel));
        storage.Disk.Gate.SetResult();

        await closing.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal(0, Inspect(storage).Find("inFlight") is long count ? count : -1);
    }

    [Fact]
    public void The_inspect_tree_counts_requests()
    {
        using var storage = new StorageFixture().Initialize();
        storage.Execute([0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], 4096);

        var request = new byte[] { 0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0 };
        for (var i = 0; i < 100; i++)
        {
            storage.Execute(request, 4096);
        }

        Assert.Equal(101L, Inspect(storage).Find("disks/0/reads"));
    }

    [Fact]
    public void Reads_and_writes_allocate_nothing_once_the_pool_is_warm()
    {
        using var ram = GuestMemory.Create(1 << 20);
        using var memory = new GpaSpace(ram);
        Assert.True(RingMemory.TryMap(memory, [16, 17, 18, 19], out var ring));
        ring.Initialize();
        var controller = new StorageController(Guid.Empty);
        controller.AddDisk(0, new VoidDisk());
        controller.Start();
        var channel = new RingChannel(memory, ring);
        controller.OnOpened(channel);
        var packet = new byte[StorvspPacket.Size];
        foreach (var step in new byte[] { 7, 9, 10, 8 })
        {
            packet[0] = step;
            packet[12] = 2;
            packet[13] = 6;
            channel.Write(VmBusPacketType.InBand, VmBusPacketFlags.CompletionRequested, packet, []);
            controller.OnSignalled(channel);
        }

        // A read and a write of 8 KiB in two pages that are no neighbours.
        packet[0] = (byte)StorvspOperation.ExecuteSrb;
        packet[StorvspPacket.CdbLengthOffset] = 10;
        packet[StorvspPacket.DirectionOffset] = 1;
        packet[StorvspPacket.TransferLengthOffset + 1] = 0x20;
        packet[StorvspPacket.CdbOffset + 8] = 16;
        var pages = new byte[32];
        BinaryPrimitives.WriteUInt32LittleEndian(pages.AsSpan(4), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(pages.AsSpan(8), 8192);
        BinaryPrimitives.WriteUInt64LittleEndian(pages.AsSpan(16), 40);
        BinaryPrimitives.WriteUInt64LittleEndian(pages.AsSpan(24), 50);
        Run(100);
        var before = GC.GetAllocatedBytesForCurrentThread();

        Run(2000);

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.Equal(4 + (2 * 2100), channel.Completed);

        void Run(int count)
        {
            for (var i = 0; i < count; i++)
            {
                foreach (var opcode in (ReadOnlySpan<byte>)[0x28, 0x2A])
                {
                    packet[StorvspPacket.CdbOffset] = opcode;
                    channel.Write(VmBusPacketType.GpaDirect, VmBusPacketFlags.CompletionRequested, packet, pages);
                    controller.OnSignalled(channel);
                }
            }
        }
    }

    private static InspectNode Inspect(StorageFixture storage)
    {
        var node = new InspectNode();
        storage.Controller.Inspect(node);
        return node;
    }

    private static unsafe void ClearDirty(StorageFixture storage) =>
        GpaSpace.ClearPageFlag(storage.Bus.Memory.PageFlags(storage.Page * 4096), GpaPageFlags.Dirty);

    private static unsafe bool IsDirty(StorageFixture storage) =>
        (*storage.Bus.Memory.PageFlags(storage.Page * 4096) & (byte)GpaPageFlags.Dirty) != 0;
}
