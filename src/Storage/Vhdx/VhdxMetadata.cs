using System.Buffers.Binary;
using System.Numerics;
using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>What a VHDX file says of its disk ([MS-VHDX] 2.6.2).</summary>
internal sealed record VhdxMetadata
{
    internal static readonly Guid FileParametersId = new("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
    internal static readonly Guid DiskSizeId = new("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
    internal static readonly Guid DiskIdentityId = new("BECA12AB-B2E6-4523-93EF-C309E000C746");
    internal static readonly Guid LogicalSectorSizeId = new("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
    internal static readonly Guid PhysicalSectorSizeId = new("CDA348C7-445D-4471-9CC9-E9885251C556");
    internal static readonly Guid ParentLocatorId = new("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");

    private const int DataOffset = MetadataTable.Size;
    private const int ParentLocatorOffset = DataOffset + 4096;

    internal required int BlockSize { get; init; }

    /// <summary>A fixed disk: blocks stay allocated.</summary>
    internal bool LeaveBlocksAllocated { get; init; }

    internal bool HasParent { get; init; }

    internal required long DiskSize { get; init; }

    internal required Guid DiskIdentity { get; init; }

    internal required int LogicalSectorSize { get; init; }

    internal required int PhysicalSectorSize { get; init; }

    internal ParentLocator? ParentLocator { get; init; }

    /// <summary>Where the items are in the file, by identifier.</summary>
    internal IReadOnlyDictionary<Guid, MetadataEntry> Items { get; init; } = new Dictionary<Guid, MetadataEntry>();

    /// <summary>Items this version does not know and need not know; they stay where they are.</summary>
    internal int UnknownItems { get; init; }

    internal static VhdxMetadata Read(IDiskFile file, Region region)
    {
        var regionOffset = (long)region.FileOffset;
        DiskDamagedException Damaged(string structure, long offset, string problem, string? cure = null) =>
            new(file.Path, "VHDX metadata " + structure, regionOffset + offset, problem, cure);

        var buffer = new byte[MetadataTable.Size];
        _ = file.Read(regionOffset, buffer);
        if (!MetadataTable.TryRead(buffer, region.Length, out var table, out var tableProblem))
        {
            throw Damaged("table", 0, tableProblem);
        }

        var items = new Dictionary<Guid, MetadataEntry>();
        var unknown = 0;
        foreach (var entry in table.Entries)
        {
            if (entry.IsUser || !IsKnown(entry.Id))
            {
                unknown++;
                if (entry.IsRequired)
                {
                    throw Damaged(
                        "table", 0, $"the file needs item {entry.Id}, which this version does not know",
                        "Open the file with the program that made it and convert it to a plain VHDX.");
                }
            }
            else if (!items.TryAdd(entry.Id, entry))
            {
                throw Damaged("table", 0, $"item {entry.Id} is there twice");
            }
        }

        byte[] Item(Guid id, string name, int minimum)
        {
            if (!items.TryGetValue(id, out var entry))
            {
                throw Damaged("table", 0, $"the item {name} is missing");
            }

            if (entry.Length < minimum)
            {
                throw Damaged(name, entry.Offset, $"{entry.Length} bytes are fewer than {minimum}");
            }

            var content = new byte[entry.Length];
            return file.Read(regionOffset + entry.Offset, content) == content.Length
                ? content
                : throw Damaged(name, entry.Offset, "the file ends inside it");
        }

        var parameters = Item(FileParametersId, "file parameters", 8);
        var blockSize = BinaryPrimitives.ReadUInt32LittleEndian(parameters);
        var flags = BinaryPrimitives.ReadUInt32LittleEndian(parameters.AsSpan(4));
        if (blockSize is < VhdxLayout.MinimumBlockSize or > VhdxLayout.MaximumBlockSize || !BitOperations.IsPow2(blockSize))
        {
            throw Damaged("file parameters", items[FileParametersId].Offset, $"a block size of {blockSize} is not allowed");
        }

        var logical = BinaryPrimitives.ReadUInt32LittleEndian(Item(LogicalSectorSizeId, "logical sector size", 4));
        var physical = BinaryPrimitives.ReadUInt32LittleEndian(Item(PhysicalSectorSizeId, "physical sector size", 4));
        if (logical is not (512 or 4096) || physical is not (512 or 4096))
        {
            throw Damaged(
                "logical sector size", items[LogicalSectorSizeId].Offset, $"sector sizes of {logical} and {physical} are not allowed");
        }

        var size = BinaryPrimitives.ReadUInt64LittleEndian(Item(DiskSizeId, "virtual disk size", 8));
        if (size == 0 || size > VhdxLayout.MaximumDiskSize || size % logical != 0)
        {
            throw Damaged("virtual disk size", items[DiskSizeId].Offset, $"a size of {size} is not allowed");
        }

        var hasParent = (flags & 2) != 0;
        ParentLocator? locator = null;
        if (hasParent && !ParentLocator.TryRead(Item(ParentLocatorId, "parent locator", 20), out locator, out var locatorProblem))
        {
            throw Damaged("parent locator", items[ParentLocatorId].Offset, locatorProblem);
        }

        return new VhdxMetadata
        {
            BlockSize = (int)blockSize,
            LeaveBlocksAllocated = (flags & 1) != 0,
            HasParent = hasParent,
            DiskSize = (long)size,
            DiskIdentity = new Guid(Item(DiskIdentityId, "virtual disk identifier", 16).AsSpan(0, 16)),
            LogicalSectorSize = (int)logical,
            PhysicalSectorSize = (int)physical,
            ParentLocator = locator,
            Items = items,
            UnknownItems = unknown,
        };
    }

    /// <summary>Builds the metadata region of a new file.</summary>
    internal byte[] Build()
    {
        var region = new byte[VhdxLayout.Megabyte];
        var entries = new List<MetadataEntry>();
        var next = DataOffset;

        Span<byte> Add(Guid id, int length, bool isVirtualDisk)
        {
            entries.Add(new MetadataEntry(id, (uint)next, (uint)length, IsUser: false, isVirtualDisk, IsRequired: true));
            var place = region.AsSpan(next, length);
            next += (length + 7) & ~7;
            return place;
        }

        var parameters = Add(FileParametersId, 8, isVirtualDisk: false);
        BinaryPrimitives.WriteUInt32LittleEndian(parameters, (uint)BlockSize);
        BinaryPrimitives.WriteUInt32LittleEndian(parameters[4..], (LeaveBlocksAllocated ? 1u : 0) | (HasParent ? 2u : 0));
        BinaryPrimitives.WriteUInt64LittleEndian(Add(DiskSizeId, 8, isVirtualDisk: true), (ulong)DiskSize);
        _ = DiskIdentity.TryWriteBytes(Add(DiskIdentityId, 16, isVirtualDisk: true));
        BinaryPrimitives.WriteUInt32LittleEndian(Add(LogicalSectorSizeId, 4, isVirtualDisk: true), (uint)LogicalSectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(Add(PhysicalSectorSizeId, 4, isVirtualDisk: true), (uint)PhysicalSectorSize);
        if (ParentLocator is not null)
        {
            // In pages of its own: changing the parent later replaces them whole, through the log.
            next = ParentLocatorOffset;
            var locator = ParentLocator.Build();
            locator.CopyTo(Add(ParentLocatorId, locator.Length, isVirtualDisk: false));
        }

        new MetadataTable(entries).Write(region);
        return region;
    }

    private static bool IsKnown(Guid id) =>
        id == FileParametersId || id == DiskSizeId || id == DiskIdentityId || id == LogicalSectorSizeId || id == PhysicalSectorSizeId
        || id == ParentLocatorId;
}
