using System.Buffers.Binary;
using Vitro.Storage.Files;

namespace Vitro.Storage.Operations;

/// <summary>Reads a disk's partition table, as far as is needed to say where partitions are.</summary>
internal static class PartitionTable
{
    private const int MbrEntries = 446;
    private const int MbrEntrySize = 16;
    private const int MaximumGptEntries = 1024;
    private const byte ProtectiveType = 0xEE;

    /// <summary>The partitions, none when there is no table.</summary>
    internal static List<DiskPartition> Read(VirtualDisk disk)
    {
        var sector = disk.LogicalSectorSize;
        if (disk.Length < 3 * sector)
        {
            return [];
        }

        var mbr = Bytes(disk, 0, sector);
        if (mbr[510] != 0x55 || mbr[511] != 0xAA)
        {
            return [];
        }

        var partitions = new List<DiskPartition>();
        for (var i = 0; i < 4; i++)
        {
            var entry = mbr.AsSpan(MbrEntries + (i * MbrEntrySize), MbrEntrySize);
            if (entry[4] == ProtectiveType)
            {
                return ReadGpt(disk, sector);
            }

            // An extended partition spans its logical ones, so its own end is enough.
            long start = BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]);
            long count = BinaryPrimitives.ReadUInt32LittleEndian(entry[12..]);
            if (entry[4] != 0 && count != 0 && start != 0)
            {
                partitions.Add(new DiskPartition(i + 1, start * sector, count * sector, $"0x{entry[4]:x2}"));
            }
        }

        return partitions;
    }

    private static List<DiskPartition> ReadGpt(VirtualDisk disk, int sector)
    {
        var header = Bytes(disk, sector, sector);
        if (!header.AsSpan().StartsWith("EFI PART"u8))
        {
            return [];
        }

        var table = BinaryPrimitives.ReadInt64LittleEndian(header.AsSpan(72));
        var count = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(80));
        var size = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(84));
        if (size is < 128 or > 4096 || count > MaximumGptEntries || table < 2 || table >= disk.Length / sector)
        {
            return [];
        }

        var bytes = (int)Math.Min(((count * size) + sector - 1) / sector * sector, disk.Length - (table * sector));
        var entries = Bytes(disk, table * sector, bytes);
        var partitions = new List<DiskPartition>();
        for (var i = 0; i < count && (i + 1) * (int)size <= entries.Length; i++)
        {
            var entry = entries.AsSpan(i * (int)size);
            var type = new Guid(entry[..16]);
            var first = BinaryPrimitives.ReadInt64LittleEndian(entry[32..]);
            var last = BinaryPrimitives.ReadInt64LittleEndian(entry[40..]);
            if (type != Guid.Empty && first >= 0 && last >= first && last < long.MaxValue / sector)
            {
                partitions.Add(new DiskPartition(i + 1, first * sector, (last - first + 1) * sector, type.ToString()));
            }
        }

        return partitions;
    }

    private static byte[] Bytes(VirtualDisk disk, long offset, int length)
    {
        var buffer = new byte[length];
        _ = disk.Read(offset, BufferSlice.Of(buffer), cachedOnly: false);
        return buffer;
    }
}
