namespace Vitro.Storage.Vhd;

/// <summary>Cylinders, heads and sectors per track, as Virtual PC chose them (VHD specification, appendix "CHS calculation").</summary>
internal readonly record struct VhdGeometry(int Cylinders, int Heads, int SectorsPerTrack)
{
    internal const long MaximumSectors = 65535L * 16 * 255;

    private const long LargestWith63 = 65535L * 16 * 63;

    internal long Sectors => (long)Cylinders * Heads * SectorsPerTrack;

    internal static VhdGeometry For(long sectors)
    {
        sectors = Math.Min(sectors, MaximumSectors);
        if (sectors >= LargestWith63)
        {
            return new VhdGeometry((int)(sectors / 255 / 16), 16, 255);
        }

        var perTrack = 17;
        var tracks = sectors / perTrack;
        var heads = Math.Max(4, (tracks + 1023) / 1024);
        if (tracks >= heads * 1024 || heads > 16)
        {
            perTrack = 31;
            heads = 16;
            tracks = sectors / perTrack;
        }

        if (tracks >= heads * 1024)
        {
            perTrack = 63;
            heads = 16;
            tracks = sectors / perTrack;
        }

        return new VhdGeometry((int)(tracks / heads), (int)heads, perTrack);
    }
}
