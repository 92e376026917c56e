using System.Buffers.Binary;
using System.Numerics;
using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>Lays out new VHDX files: headers, log, metadata, table, and for fixed disks all blocks.</summary>
internal static class VhdxCreator
{
    private const string Creator = "Vitro";
    private const uint LogLength = VhdxLayout.Megabyte;
    private const long LogOffset = VhdxLayout.Megabyte;
    private const long MetadataOffset = LogOffset + LogLength;
    private const long BatOffset = MetadataOffset + VhdxLayout.Megabyte;

    /// <summary>Completes the options with the format's defaults and refuses what it does not allow.</summary>
    internal static DiskCreateOptions Validate(string path, DiskCreateOptions options)
    {
        var blockSize = options.BlockSize != 0 ? options.BlockSize
            : options.Kind == DiskKind.Differencing ? VhdxLayout.DefaultDifferencingBlockSize : VhdxLayout.DefaultBlockSize;
        if (blockSize is < VhdxLayout.MinimumBlockSize or > VhdxLayout.MaximumBlockSize || !BitOperations.IsPow2(blockSize))
        {
            throw new BlockIOException($"{path}: a VHDX block size is a power of two from 1 MiB to 256 MiB, not {blockSize}.");
        }

        if (options.LogicalSectorSize is not (512 or 4096) || options.PhysicalSectorSize is not (512 or 4096))
        {
            throw new BlockIOException($"{path}: sector sizes are 512 or 4096.");
        }

        return options.Length > 0 && options.Length <= VhdxLayout.MaximumDiskSize && options.Length % options.LogicalSectorSize == 0
            ? options with { BlockSize = blockSize }
            : throw new BlockIOException(
                $"{path}: a VHDX has whole sectors and at most 64 TiB; {options.Length} bytes are not allowed.");
    }

    /// <summary>Writes the structures of a new disk into an empty file and makes them durable.</summary>
    internal static void Create(IDiskFile file, DiskCreateOptions options, ParentLocator? parent)
    {
        var metadata = new VhdxMetadata
        {
            BlockSize = options.BlockSize,
            LeaveBlocksAllocated = options.Kind == DiskKind.Fixed,
            HasParent = parent is not null,
            DiskSize = options.Length,
            DiskIdentity = options.Identity ?? Guid.NewGuid(),
            LogicalSectorSize = options.LogicalSectorSize,
            PhysicalSectorSize = options.PhysicalSectorSize,
            ParentLocator = parent,
        };
        var geometry = new BatGeometry(metadata.DiskSize, metadata.BlockSize, metadata.LogicalSectorSize, metadata.HasParent);
        var firstBlock = BatOffset + geometry.RegionLength;
        file.SetLength(firstBlock);

        var identifier = new byte[FileTypeIdentifier.Size];
        FileTypeIdentifier.Write(identifier, Creator);
        file.Write(0, identifier);
        file.Write(MetadataOffset, metadata.Build());
        if (options.Kind == DiskKind.Fixed)
        {
            AllocateAll(file, geometry, firstBlock, options.Sparse);
        }

        file.Flush();
        new RegionTable(
        [
            new Region(RegionTable.BatId, (ulong)BatOffset, (uint)geometry.RegionLength, Required: true),
            new Region(RegionTable.MetadataId, (ulong)MetadataOffset, VhdxLayout.Megabyte, Required: true),
        ]).Store(file);
        _ = HeaderPair.Create(file, new VhdxHeader(1, Guid.NewGuid(), Guid.NewGuid(), Guid.Empty, LogLength, (ulong)LogOffset));
        file.Flush();
    }

    private static void AllocateAll(IDiskFile file, BatGeometry geometry, long firstBlock, bool sparse)
    {
        const int BufferEntries = 1 << 16;
        var length = geometry.PayloadBlocks * geometry.BlockSize;
        file.SetLength(firstBlock + length);
        if (!sparse)
        {
            file.Reserve(firstBlock, length);
        }

        var buffer = new byte[BufferEntries * BatGeometry.EntrySize];
        for (long index = 0, block = 0; index < geometry.Entries;)
        {
            var count = (int)Math.Min(BufferEntries, geometry.Entries - index);
            for (var i = 0; i < count; i++, index++)
            {
                var isBitmap = index % (geometry.ChunkRatio + 1L) == geometry.ChunkRatio;
                var entry = isBitmap ? default : new BatEntry(BatState.FullyPresent, firstBlock + (block++ * geometry.BlockSize));
                BinaryPrimitives.WriteUInt64LittleEndian(buffer.AsSpan(i * BatGeometry.EntrySize), entry.Value);
            }

            file.Write(BatOffset + ((index - count) * BatGeometry.EntrySize), buffer.AsSpan(0, count * BatGeometry.EntrySize));
        }
    }
}
