using Vitro.Storage.Files;

namespace Vitro.Storage;

/// <summary>How <see cref="DiskFactory.Open"/> opens a disk.</summary>
public sealed record DiskOpenOptions
{
    private const int MaximumDepth = 128;

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

    /// <summary>Windows folders (<c>D:\Disks\</c>) and the folders of this host that hold their files, for finding parents.</summary>
    public IReadOnlyDictionary<string, string> WindowsPaths { get; init; } = new Dictionary<string, string>();

    internal IDiskFileSystem FileSystem { get; init; } = HostDiskFileSystem.Instance;

    /// <summary>Levels of children above; a chain that is longer than any real one is a ring.</summary>
    internal int Depth { get; init; }

    /// <summary>See <see cref="Vhdx.VhdxDisk.KeepDataIdentity"/>.</summary>
    internal bool KeepDataIdentity { get; init; }

    /// <summary>A disk that is open already and serves as the parent where its path is named; the child above closes it.</summary>
    internal VirtualDisk? KnownParent { get; init; }

    /// <summary>A disk that is open already and serves as the parent wherever the child thinks its own is.</summary>
    internal VirtualDisk? AnyParent { get; init; }

    /// <summary>Opens a parent, or takes the one that is open already.</summary>
    internal VirtualDisk OpenParent(string path, string childPath) =>
        KnownParent is not null && Path.GetFullPath(KnownParent.Path) == Path.GetFullPath(path)
            ? KnownParent
            : DiskFactory.Open(path, ForParent(childPath));

    private DiskOpenOptions ForParent(string childPath) => Depth < MaximumDepth
        ? this with { ReadOnly = true, Format = null, Depth = Depth + 1, KeepDataIdentity = false }
        : throw new BlockIOException($"{childPath}: the chain of parents has more than {MaximumDepth} levels; one is its own ancestor.");
}
