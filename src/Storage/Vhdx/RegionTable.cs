using System.Buffers.Binary;
using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>Where the parts of a VHDX file are ([MS-VHDX] 2.2.3).</summary>
internal sealed class RegionTable
{
    internal const int Size = 64 << 10;

    private const uint Signature = 0x69676572; // "regi"
    private const int ChecksumOffset = 4;
    private const int HeaderSize = 16;
    private const int EntrySize = 32;
    private const int MaximumEntries = 2047;

    internal static readonly Guid BatId = new("2DC27766-F623-4200-9D64-115E9BFD4A08");
    internal static readonly Guid MetadataId = new("8B7CA206-4790-4B9A-B8FE-575F050F886E");

    internal RegionTable(IReadOnlyList<Region> regions) => Regions = regions;

    internal IReadOnlyList<Region> Regions { get; }

    internal Region Bat => Regions.First(region => region.Id == BatId);

    internal Region Metadata => Regions.First(region => region.Id == MetadataId);

    /// <summary>Reads the first valid of the two copies.</summary>
    internal static RegionTable Read(IDiskFile file)
    {
        var buffer = new byte[Size];
        if (file.Read(VhdxLayout.FirstRegionTableOffset, buffer) == Size && TryRead(buffer, out var table, out var firstProblem))
        {
            return Validate(file, table, VhdxLayout.FirstRegionTableOffset);
        }

        firstProblem = DescribeProblem(buffer);
        return file.Read(VhdxLayout.SecondRegionTableOffset, buffer) == Size && TryRead(buffer, out table, out var secondProblem)
            ? Validate(file, table, VhdxLayout.SecondRegionTableOffset)
            : throw new DiskDamagedException(
                file.Path, "VHDX region tables 1 and 2", VhdxLayout.FirstRegionTableOffset,
                $"{firstProblem}; of table 2, {DescribeProblem(buffer)}");
    }

    internal static bool TryRead(ReadOnlySpan<byte> source, out RegionTable table, out string problem)
    {
        table = new RegionTable([]);
        problem = "";
        if (source.Length < Size || BinaryPrimitives.ReadUInt32LittleEndian(source) != Signature)
        {
            problem = "the signature \"regi\" is missing";
            return false;
        }

        if (!VhdxChecksum.Check(source[..Size], ChecksumOffset))
        {
            problem = "the checksum is wrong";
            return false;
        }

        var count = BinaryPrimitives.ReadUInt32LittleEndian(source[8..]);
        if (count > MaximumEntries)
        {
            problem = $"{count} entries are more than {MaximumEntries}";
            return false;
        }

        var regions = new Region[count];
        for (var i = 0; i < regions.Length; i++)
        {
            var entry = source[(HeaderSize + (i * EntrySize))..];
            regions[i] = new Region(
                new Guid(entry[..16]),
                BinaryPrimitives.ReadUInt64LittleEndian(entry[16..]),
                BinaryPrimitives.ReadUInt32LittleEndian(entry[24..]),
                (BinaryPrimitives.ReadUInt32LittleEndian(entry[28..]) & 1) != 0);
        }

        table = new RegionTable(regions);
        return true;
    }

    internal void Write(Span<byte> target)
    {
        target = target[..Size];
        target.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(target, Signature);
        BinaryPrimitives.WriteUInt32LittleEndian(target[8..], (uint)Regions.Count);
        for (var i = 0; i < Regions.Count; i++)
        {
            var entry = target[(HeaderSize + (i * EntrySize))..];
            _ = Regions[i].Id.TryWriteBytes(entry);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], Regions[i].FileOffset);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[24..], Regions[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[28..], Regions[i].Required ? 1u : 0);
        }

        VhdxChecksum.Set(target, ChecksumOffset);
    }

    /// <summary>Writes both copies, the second only when the first is durable.</summary>
    internal void Store(IDiskFile file)
    {
        var buffer = new byte[Size];
        Write(buffer);
        file.Write(VhdxLayout.FirstRegionTableOffset, buffer);
        file.Flush();
        file.Write(VhdxLayout.SecondRegionTableOffset, buffer);
        file.Flush();
    }

    /// <summary>Whether the second copy is sound but says something else: a crash came between the two.</summary>
    internal bool SecondCopyIsOlder(IDiskFile file)
    {
        var buffer = new byte[Size];
        _ = file.Read(VhdxLayout.SecondRegionTableOffset, buffer);
        return TryRead(buffer, out var other, out _) && !other.Regions.SequenceEqual(Regions);
    }

    private static string DescribeProblem(ReadOnlySpan<byte> buffer)
    {
        _ = TryRead(buffer, out _, out var problem);
        return problem.Length == 0 ? "the file ends too early" : problem;
    }

    private static RegionTable Validate(IDiskFile file, RegionTable table, long offset)
    {
        DiskDamagedException Damaged(string problem) => new(file.Path, "VHDX region table", offset, problem);

        foreach (var region in table.Regions)
        {
            if (region.Required && region.Id != BatId && region.Id != MetadataId)
            {
                throw new DiskDamagedException(
                    file.Path, "VHDX region table", offset, $"the file needs region {region.Id}, which this version does not know",
                    "Open the file with the program that made it and convert it to a plain VHDX.");
            }

            if (region.FileOffset < VhdxLayout.Megabyte || region.FileOffset % VhdxLayout.Megabyte != 0
                || region.Length == 0 || region.Length % VhdxLayout.Megabyte != 0 || region.FileOffset > long.MaxValue / 2)
            {
                throw Damaged($"region {region.Id} has {region.Length} bytes at {region.FileOffset}, which are not whole megabytes");
            }
        }

        for (var i = 0; i < table.Regions.Count; i++)
        {
            for (var j = 0; j < i; j++)
            {
                var (one, two) = (table.Regions[i], table.Regions[j]);
                if (one.Id == two.Id || (one.FileOffset < two.FileOffset + two.Length && two.FileOffset < one.FileOffset + one.Length))
                {
                    throw Damaged($"regions {two.Id} and {one.Id} are the same or overlap");
                }
            }
        }

        return table.Regions.Any(region => region.Id == BatId) && table.Regions.Any(region => region.Id == MetadataId)
            ? table
            : throw Damaged("the BAT or the metadata region is missing");
    }
}

/// <summary>An entry of the region table.</summary>
internal readonly record struct Region(Guid Id, ulong FileOffset, uint Length, bool Required);
