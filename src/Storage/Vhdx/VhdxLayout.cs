namespace Vitro.Storage.Vhdx;

/// <summary>Fixed places, sizes and limits of a VHDX file ([MS-VHDX] 2.2 and 2.6).</summary>
internal static class VhdxLayout
{
    internal const int Megabyte = 1 << 20;
    internal const int PageSize = 4096;

    internal const long FirstHeaderOffset = 64 << 10;
    internal const long SecondHeaderOffset = 128 << 10;
    internal const long FirstRegionTableOffset = 192 << 10;
    internal const long SecondRegionTableOffset = 256 << 10;
    internal const long HeaderSectionLength = Megabyte;

    internal const int MinimumBlockSize = Megabyte;
    internal const int MaximumBlockSize = 256 * Megabyte;
    internal const int DefaultBlockSize = 32 * Megabyte;
    internal const int DefaultDifferencingBlockSize = 2 * Megabyte;
    internal const long MaximumDiskSize = 64L << 40;

    /// <summary>No file is longer: the largest disk, and for what describes it more than ever is needed.</summary>
    internal const long MaximumFileLength = MaximumDiskSize + (MaximumDiskSize / 16);

    internal static long AlignUp(long value, long alignment) => (value + alignment - 1) / alignment * alignment;
}
