using Vitro.Storage.Files;

namespace Vitro.Storage;

/// <summary>What <see cref="DiskFactory.Create"/> makes.</summary>
public sealed record DiskCreateOptions
{
    /// <summary>The format.</summary>
    public DiskFormat Format { get; init; } = DiskFormat.Vhdx;

    /// <summary>Fixed, dynamic or differencing; raw files are fixed.</summary>
    public DiskKind Kind { get; init; } = DiskKind.Dynamic;

    /// <summary>Bytes, a multiple of the logical sector size; 0 for a differencing disk takes its parent's.</summary>
    public long Length { get; init; }

    /// <summary>
    /// Bytes of a block: VHDX 1 to 256 MiB (0: 32 MiB, differencing 2 MiB), VHD 512 KiB or 2 MiB (0: 2 MiB); a power of two.
    /// </summary>
    public int BlockSize { get; init; }

    /// <summary>512 or 4096; VHD and differencing disks take what they must.</summary>
    public int LogicalSectorSize { get; init; } = 512;

    /// <summary>512 or 4096.</summary>
    public int PhysicalSectorSize { get; init; } = 4096;

    /// <summary>The parent of a differencing disk.</summary>
    public string? ParentPath { get; init; }

    /// <summary>Leaves a fixed or raw file sparse instead of reserving its space.</summary>
    public bool Sparse { get; init; }

    /// <summary>The disk's identity; null makes a new one.</summary>
    public Guid? Identity { get; init; }

    /// <summary>Replaces a file of that name; else it must not exist.</summary>
    public bool Overwrite { get; init; }

    /// <summary>Conversion only: leaves the result to the host's cache instead of making it durable before it gets its name.</summary>
    public bool SkipSync { get; init; }

    internal IDiskFileSystem FileSystem { get; init; } = HostDiskFileSystem.Instance;
}
