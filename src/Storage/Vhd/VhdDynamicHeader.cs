using System.Buffers.Binary;
using System.Text;

namespace Vitro.Storage.Vhd;

/// <summary>The second header of growing VHDs: where the table is, how long blocks are, who the parent is
/// (VHD specification, "Dynamic Disk Header Format").</summary>
internal sealed record VhdDynamicHeader
{
    internal const int Size = 1024;
    internal const int LocatorCount = 8;

    private const int ChecksumOffset = 36;
    private const int NameOffset = 64;
    private const int NameBytes = 512;
    private const int LocatorOffset = 576;
    private const int LocatorSize = 24;
    private const uint Version = 0x00010000;

    internal required long TableOffset { get; init; }

    internal required int TableEntries { get; init; }

    internal required int BlockSize { get; init; }

    internal Guid ParentId { get; init; }

    internal uint ParentTimeStamp { get; init; }

    internal string ParentName { get; init; } = "";

    internal IReadOnlyList<VhdLocator> Locators { get; init; } = [];

    private static ReadOnlySpan<byte> Cookie => "cxsparse"u8;

    internal static bool TryRead(ReadOnlySpan<byte> source, out VhdDynamicHeader header, out string problem)
    {
        header = null!;
        problem = "";
        if (source.Length < Size || !source.StartsWith(Cookie))
        {
            problem = "the cookie \"cxsparse\" is missing";
            return false;
        }

        source = source[..Size];
        if (BinaryPrimitives.ReadUInt32BigEndian(source[ChecksumOffset..]) != VhdFooter.Checksum(source, ChecksumOffset))
        {
            problem = "the checksum is wrong";
            return false;
        }

        var entries = BinaryPrimitives.ReadUInt32BigEndian(source[28..]);
        var blockSize = BinaryPrimitives.ReadUInt32BigEndian(source[32..]);
        var table = BinaryPrimitives.ReadInt64BigEndian(source[16..]);
        if (blockSize is < 4096 or > (1 << 28) || (blockSize & (blockSize - 1)) != 0)
        {
            problem = $"a block size of {blockSize} is not supported";
            return false;
        }

        if (entries > int.MaxValue / 4 || table < Size || table % VhdLayout.SectorSize != 0)
        {
            problem = $"a table of {entries} entries at offset {table} is not allowed";
            return false;
        }

        var locators = new List<VhdLocator>();
        for (var i = 0; i < LocatorCount; i++)
        {
            var entry = source[(LocatorOffset + (i * LocatorSize))..];
            locators.Add(new VhdLocator(
                Encoding.Latin1.GetString(entry[..4]),
                BinaryPrimitives.ReadUInt32BigEndian(entry[4..]),
                BinaryPrimitives.ReadUInt32BigEndian(entry[8..]),
                BinaryPrimitives.ReadInt64BigEndian(entry[16..])));
        }

        var name = Encoding.BigEndianUnicode.GetString(source.Slice(NameOffset, NameBytes));
        var end = name.IndexOf('\0', StringComparison.Ordinal);
        header = new VhdDynamicHeader
        {
            TableOffset = table,
            TableEntries = (int)entries,
            BlockSize = (int)blockSize,
            ParentId = new Guid(source[40..56], bigEndian: true),
            ParentTimeStamp = BinaryPrimitives.ReadUInt32BigEndian(source[56..]),
            ParentName = end < 0 ? name : name[..end],
            Locators = locators,
        };
        return true;
    }

    internal byte[] Build()
    {
        var target = new byte[Size];
        Cookie.CopyTo(target);
        BinaryPrimitives.WriteInt64BigEndian(target.AsSpan(8), -1);
        BinaryPrimitives.WriteInt64BigEndian(target.AsSpan(16), TableOffset);
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(24), Version);
        BinaryPrimitives.WriteInt32BigEndian(target.AsSpan(28), TableEntries);
        BinaryPrimitives.WriteInt32BigEndian(target.AsSpan(32), BlockSize);
        _ = ParentId.TryWriteBytes(target.AsSpan(40), bigEndian: true, out _);
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(56), ParentTimeStamp);
        var name = ParentName.Length > (NameBytes / 2) - 1 ? ParentName[..((NameBytes / 2) - 1)] : ParentName;
        _ = Encoding.BigEndianUnicode.GetBytes(name, target.AsSpan(NameOffset, NameBytes));
        for (var i = 0; i < Math.Min(LocatorCount, Locators.Count); i++)
        {
            var entry = target.AsSpan(LocatorOffset + (i * LocatorSize));
            _ = Encoding.Latin1.GetBytes(Locators[i].Platform.PadRight(4, '\0'), entry);
            BinaryPrimitives.WriteUInt32BigEndian(entry[4..], Locators[i].Space);
            BinaryPrimitives.WriteUInt32BigEndian(entry[8..], Locators[i].Length);
            BinaryPrimitives.WriteInt64BigEndian(entry[16..], Locators[i].Offset);
        }

        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(ChecksumOffset), VhdFooter.Checksum(target, ChecksumOffset));
        return target;
    }
}

/// <summary>Where a name of the parent is in the file: platform code "W2ru" (relative) or "W2ku" (absolute), UTF-16 both.</summary>
/// <param name="Platform">Four characters.</param>
/// <param name="Space">Room for the name; creators disagree whether in sectors or bytes, so nobody should need it.</param>
/// <param name="Length">Bytes of the name.</param>
/// <param name="Offset">Its first byte in the file.</param>
internal readonly record struct VhdLocator(string Platform, uint Space, uint Length, long Offset)
{
    internal const string Relative = "W2ru";
    internal const string Absolute = "W2ku";
}
