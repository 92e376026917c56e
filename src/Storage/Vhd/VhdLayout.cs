namespace Vitro.Storage.Vhd;

/// <summary>Sizes and limits of VHD files.</summary>
internal static class VhdLayout
{
    internal const int SectorSize = 512;
    internal const int DefaultBlockSize = 2 << 20;
    internal const int SmallBlockSize = 512 << 10;

    /// <summary>Hyper-V's limit, 2040 GiB: what 32-bit sector numbers can reach with the table's overhead.</summary>
    internal const long MaximumDiskSize = 2040L << 30;

    internal static long AlignUp(long value) => (value + SectorSize - 1) & -SectorSize;

    /// <summary>Bytes of the bitmap before a block's data.</summary>
    internal static int BitmapSize(int blockSize) => (int)AlignUp((blockSize / SectorSize) / 8);
}
