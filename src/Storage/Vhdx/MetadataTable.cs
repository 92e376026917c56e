using System.Buffers.Binary;

namespace Vitro.Storage.Vhdx;

/// <summary>The directory of a VHDX file's metadata items ([MS-VHDX] 2.6.1).</summary>
internal sealed class MetadataTable
{
    internal const int Size = 64 << 10;

    private const ulong Signature = 0x617461646174656D; // "metadata"
    private const int HeaderSize = 32;
    private const int EntrySize = 32;
    private const int MaximumEntries = 2047;
    private const uint MaximumItemLength = 1 << 20;

    internal MetadataTable(IReadOnlyList<MetadataEntry> entries) => Entries = entries;

    internal IReadOnlyList<MetadataEntry> Entries { get; }

    /// <summary>Where an entry is in the table.</summary>
    internal static int EntryOffset(int index) => HeaderSize + (index * EntrySize);

    internal static bool TryRead(ReadOnlySpan<byte> source, long regionLength, out MetadataTable table, out string problem)
    {
        table = new MetadataTable([]);
        problem = "";
        if (source.Length < Size || BinaryPrimitives.ReadUInt64LittleEndian(source) != Signature)
        {
            problem = "the signature \"metadata\" is missing";
            return false;
        }

        var count = BinaryPrimitives.ReadUInt16LittleEndian(source[10..]);
        if (count > MaximumEntries)
        {
            problem = $"{count} entries are more than {MaximumEntries}";
            return false;
        }

        var entries = new MetadataEntry[count];
        for (var i = 0; i < count; i++)
        {
            var entry = source[(HeaderSize + (i * EntrySize))..];
            var flags = BinaryPrimitives.ReadUInt32LittleEndian(entry[24..]);
            var item = new MetadataEntry(
                new Guid(entry[..16]),
                BinaryPrimitives.ReadUInt32LittleEndian(entry[16..]),
                BinaryPrimitives.ReadUInt32LittleEndian(entry[20..]),
                IsUser: (flags & 1) != 0,
                IsVirtualDisk: (flags & 2) != 0,
                IsRequired: (flags & 4) != 0);
            if (item.Length > MaximumItemLength || (item.Length != 0 && (item.Offset < Size || item.Offset + (long)item.Length > regionLength)))
            {
                problem = $"item {item.Id} has {item.Length} bytes at {item.Offset}, outside the metadata region";
                return false;
            }

            entries[i] = item;
        }

        table = new MetadataTable(entries);
        return true;
    }

    internal void Write(Span<byte> target)
    {
        target = target[..Size];
        target.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(target, Signature);
        BinaryPrimitives.WriteUInt16LittleEndian(target[10..], (ushort)Entries.Count);
        for (var i = 0; i < Entries.Count; i++)
        {
            var entry = target[(HeaderSize + (i * EntrySize))..];
            var item = Entries[i];
            _ = item.Id.TryWriteBytes(entry);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], item.Offset);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[20..], item.Length);
            BinaryPrimitives.WriteUInt32LittleEndian(
                entry[24..], (item.IsUser ? 1u : 0) | (item.IsVirtualDisk ? 2u : 0) | (item.IsRequired ? 4u : 0));
        }
    }
}

/// <summary>An entry of the metadata table; the offset is from the start of the metadata region.</summary>
internal readonly record struct MetadataEntry(Guid Id, uint Offset, uint Length, bool IsUser, bool IsVirtualDisk, bool IsRequired);
