using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using Vitro.UnitTests.Storage;
using Vitro.UnitTests.VmBus;
using Vitro.UnitTests.WorkerProcess.Saving;
using Vitro.VmBus;
using Vitro.VmBus.Guest;
using Vitro.Vsp.Storage;
using Vitro.WorkerProcess.Saving;
using Xunit;

namespace Vitro.UnitTests.Vsp.Storage;

/// <summary>A controller on a bus and a guest that drives it as a storage driver does.</summary>
internal sealed class StorageFixture : IDisposable
{
    private const int PagesEachWay = 32;

    private readonly BusFixture _bus = new();
    private ulong _transaction = 100;

    internal StorageFixture(MemoryDisk? disk = null, int maximumSubChannels = 0)
    {
        Disk = disk ?? new MemoryDisk(4 << 20);
        Controller = new StorageController(new Guid("11111111-2222-3333-4444-555555555555"), maximumSubChannels: maximumSubChannels);
        Controller.AddDisk(0, Disk);
        _bus.Host.Offer(Controller);
        _bus.Host.Start();
        Controller.Start();
        var offer = _bus.Guest.ConnectAndEnumerate()[0];
        Channel = _bus.Guest.Open(offer.ChannelId, PagesEachWay);
        Page = _bus.Guest.AllocatePages(128);
    }

    /// <summary>A controller and its bus of another time, with the guest that had channel <see cref="GuestChannel.ChannelId"/> open.</summary>
    internal StorageFixture(SavedMachine saved, MemoryDisk disk, uint channelId, uint ringGpadl, ulong firstRingPage)
    {
        Disk = disk;
        Controller = new StorageController(new Guid("11111111-2222-3333-4444-555555555555"));
        Controller.AddDisk(0, Disk);
        _bus.Host.Offer(Controller);
        saved.ReadMemory(_bus.Ram.Size).FillAll(_bus.Ram);
        _bus.Host.Restore(saved.ReadRecord("device/vmbus", ((IVirtualDevice)_bus.Host).SavedStateVersion));
        Controller.Restore(saved.ReadRecord("device/scsi0", ((IVirtualDevice)Controller).SavedStateVersion));
        ulong[] pages = [.. Enumerable.Range(0, 2 * PagesEachWay).Select(page => firstRingPage + (ulong)page)];
        Channel = _bus.Guest.Resume(channelId, ringGpadl, pages);
        Page = firstRingPage + (2 * PagesEachWay);
        _bus.Host.Start();
        Controller.Start();
    }

    internal BusFixture Bus => _bus;

    internal MemoryDisk Disk { get; }

    internal StorageController Controller { get; }

    internal GuestChannel Channel { get; }

    /// <summary>First of 128 pages for data.</summary>
    internal ulong Page { get; }

    internal Span<byte> Data(int length)
    {
        Assert.True(_bus.Memory.TryGetSpan(Page * 4096, length, out var span));
        return span;
    }

    internal StorageFixture Initialize(ushort version = 0x0602)
    {
        Assert.Equal(0u, Control(StorvspOperation.BeginInitialization).Status);
        Assert.Equal(0u, Control(StorvspOperation.QueryProtocolVersion, version).Status);
        Assert.Equal(0u, Control(StorvspOperation.QueryProperties).Status);
        Assert.Equal(0u, Control(StorvspOperation.EndInitialization).Status);
        return this;
    }

    internal StorageAnswer Control(StorvspOperation operation, ushort argument = 0)
    {
        var packet = new byte[StorvspPacket.Size];
        BinaryPrimitives.WriteUInt32LittleEndian(packet, (uint)operation);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(4), 1);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(12), argument);
        Channel.Send(packet, ++_transaction, VmBusPacketFlags.CompletionRequested);
        return Receive(_transaction);
    }

    /// <summary>Sends a command with data pages from <see cref="Page"/> on; returns its transaction.</summary>
    internal ulong Send(
        byte[] cdb, int length = 0, bool toDisk = false, byte lun = 0, uint offset = 0, byte target = 0, GuestChannel? channel = null, ulong? page = null)
    {
        channel ??= Channel;
        var packet = new byte[StorvspPacket.Size];
        BinaryPrimitives.WriteUInt32LittleEndian(packet, (uint)StorvspOperation.ExecuteSrb);
        BinaryPrimitives.WriteUInt32LittleEndian(packet.AsSpan(4), 1);
        BinaryPrimitives.WriteUInt16LittleEndian(packet.AsSpan(12), 52);
        packet[StorvspPacket.LunOffset] = lun;
        packet[StorvspPacket.TargetOffset] = target;
        packet[StorvspPacket.CdbLengthOffset] = (byte)cdb.Length;
        packet[StorvspPacket.SenseLengthOffset] = 20;
        packet[StorvspPacket.DirectionOffset] = (byte)(length == 0 ? 2 : toDisk ? 0 : 1);
        BinaryPrimitives.WriteInt32LittleEndian(packet.AsSpan(StorvspPacket.TransferLengthOffset), length);
        cdb.CopyTo(packet, StorvspPacket.CdbOffset);
        var transaction = ++_transaction;
        if (length == 0)
        {
            channel.Send(packet, transaction, VmBusPacketFlags.CompletionRequested);
            return transaction;
        }

        var pages = new ulong[(length + offset + 4095) / 4096];
        for (var i = 0; i < pages.Length; i++)
        {
            pages[i] = (page ?? Page) + (ulong)i;
        }

        channel.SendGpaDirect(transaction, packet, (uint)length, offset, pages);
        return transaction;
    }

    internal StorageAnswer Execute(byte[] cdb, int length = 0, bool toDisk = false, byte lun = 0, uint offset = 0, byte target = 0) =>
        Receive(Send(cdb, length, toDisk, lun, offset, target));

    internal StorageAnswer Receive(ulong? transaction = null, GuestChannel? channel = null)
    {
        var packet = (channel ?? Channel).Receive();
        Assert.Equal(VmBusPacketType.Completion, packet.Type);
        Assert.Equal(64, packet.Payload.Length);
        if (transaction is not null)
        {
            Assert.Equal(transaction.Value, packet.TransactionId);
        }

        return new StorageAnswer(packet.TransactionId, packet.Payload);
    }

    /// <summary>Stops the controller and its bus, as a machine does before it is saved.</summary>
    internal async Task StopAsync()
    {
        await Controller.StopAsync();
        await _bus.Host.StopAsync();
    }

    /// <summary>Writes the stopped controller, its bus and memory to the file of a saved machine.</summary>
    internal string Save(TemporaryFolder folder) => SavedFile.Write(folder, _bus.Ram, file =>
    {
        file.AddRecord("device/vmbus", ((IVirtualDevice)_bus.Host).SavedStateVersion, isRequired: true, _bus.Host.Save);
        file.AddRecord("device/scsi0", ((IVirtualDevice)Controller).SavedStateVersion, isRequired: true, Controller.Save);
    });

    public void Dispose()
    {
        Channel.Dispose();
        _bus.Dispose();
    }
}

/// <summary>A completion of the controller.</summary>
internal sealed record StorageAnswer(ulong Transaction, byte[] Packet)
{
    internal uint Operation => BinaryPrimitives.ReadUInt32LittleEndian(Packet);

    internal uint Status => BinaryPrimitives.ReadUInt32LittleEndian(Packet.AsSpan(8));

    internal byte SrbStatus => Packet[StorvspPacket.SrbStatusOffset];

    internal byte ScsiStatus => Packet[StorvspPacket.ScsiStatusOffset];

    internal int Transferred => BinaryPrimitives.ReadInt32LittleEndian(Packet.AsSpan(StorvspPacket.TransferLengthOffset));

    internal (int Key, int Code, int Qualifier) Sense => (Packet[28 + 2] & 0xF, Packet[28 + 12], Packet[28 + 13]);
}
