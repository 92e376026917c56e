namespace Vitro.Storage;

/// <summary>How a disk's content is laid out in its file.</summary>
public enum DiskFormat
{
    /// <summary>Byte for byte; also ISO images.</summary>
    Raw,

    /// <summary>Virtual Hard Disk, the format of Virtual PC; at most 2040 GiB.</summary>
    Vhd,

    /// <summary>Virtual Hard Disk version 2 ([MS-VHDX]); at most 64 TiB.</summary>
    Vhdx,
}

/// <summary>How a disk gets its space.</summary>
public enum DiskKind
{
    /// <summary>All of it at creation.</summary>
    Fixed,

    /// <summary>Block by block, when first written.</summary>
    Dynamic,

    /// <summary>As dynamic, holding only what differs from a parent disk.</summary>
    Differencing,
}

/// <summary>What a range of one layer holds.</summary>
internal enum RangeContent
{
    /// <summary>Nothing: the parent's content shows, or zeroes when there is none.</summary>
    Absent,

    /// <summary>Zeroes, by record.</summary>
    Zero,

    /// <summary>Stored bytes.</summary>
    Data,
}
