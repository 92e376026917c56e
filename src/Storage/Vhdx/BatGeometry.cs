namespace Vitro.Storage.Vhdx;

/// <summary>The arithmetic of a block allocation table, where after each chunk of payload entries comes one for their bitmap
/// ([MS-VHDX] 2.5).</summary>
internal readonly record struct BatGeometry(long DiskSize, int BlockSize, int SectorSize, bool HasParent)
{
    /// <summary>Sectors that one sector bitmap block, of 1 MiB, covers.</summary>
    internal const long SectorsPerBitmapBlock = 1L << 23;

    internal const int EntrySize = 8;

    /// <summary>Payload blocks per sector bitmap block.</summary>
    internal int ChunkRatio => (int)(SectorsPerBitmapBlock * SectorSize / BlockSize);

    internal long PayloadBlocks => (DiskSize + BlockSize - 1) / BlockSize;

    internal long Chunks => (PayloadBlocks + ChunkRatio - 1) / ChunkRatio;

    internal long Entries => HasParent ? Chunks * (ChunkRatio + 1) : PayloadBlocks + ((PayloadBlocks - 1) / ChunkRatio);

    /// <summary>Bytes of a region that holds the table.</summary>
    internal long RegionLength => VhdxLayout.AlignUp(Entries * EntrySize, VhdxLayout.Megabyte);

    internal long PayloadIndex(long block) => block + (block / ChunkRatio);

    internal long BitmapIndex(long chunk) => (chunk * (ChunkRatio + 1)) + ChunkRatio;
}
