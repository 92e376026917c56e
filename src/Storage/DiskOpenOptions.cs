using Vitro.Storage.Files;

namespace Vitro.Storage;

/// <summary>How <see cref="DiskFactory.Open"/> opens a disk.</summary>
public sealed record DiskOpenOptions
{
    /// <summary>Writes, trims and zeroes are refused, and the file is not touched; parents are always opened so.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>The format; null recognises it by content. Naming <see cref="DiskFormat.Raw"/> shows the bytes of any file.</summary>
    public DiskFormat? Format { get; init; }

    /// <summary>Whether the files are locked.</summary>
    public DiskLocking Locking { get; init; }

    /// <summary>The sector size that a raw file is given: 512 or 4096; 2048 for ISO images is the reader's business.</summary>
    public int RawSectorSize { get; init; } = 512;

    /// <summary>Opens a differencing disk even when its parent's identity is not the one it was made over.</summary>
    public bool IgnoreParentIdentity { get; init; }

    internal IDiskFileSystem FileSystem { get; init; } = HostDiskFileSystem.Instance;
}
