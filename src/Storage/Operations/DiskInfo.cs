using Vitro.Storage.Disks;
using Vitro.Storage.Operations;
using Vitro.Storage.Sparse;
using Vitro.Storage.Vhd;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>What a disk's file says of it; sizes in bytes.</summary>
public sealed record DiskInfo
{
    /// <summary>The file.</summary>
    public required string Path { get; init; }

    /// <summary>The file's format.</summary>
    public required DiskFormat Format { get; init; }

    /// <summary>Fixed, dynamic or differencing.</summary>
    public required DiskKind Kind { get; init; }

    /// <summary>The disk's size, as a guest sees it.</summary>
    public required long Length { get; init; }

    /// <summary>The file's size.</summary>
    public required long FileLength { get; init; }

    /// <summary>The least size the disk can be shrunk to.</summary>
    public required long MinimumLength { get; init; }

    /// <summary>Bytes of a block; 0 when the format has none.</summary>
    public int BlockSize { get; init; }

    /// <summary>Bytes of a logical sector.</summary>
    public required int LogicalSectorSize { get; init; }

    /// <summary>Bytes of a physical sector.</summary>
    public required int PhysicalSectorSize { get; init; }

    /// <summary>Blocks that are stored in this file.</summary>
    public long AllocatedBlocks { get; init; }

    /// <summary>Percentage of stored blocks that do not follow the block before them in the file.</summary>
    public int FragmentationPercentage { get; init; }

    /// <summary>The disk's identity.</summary>
    public Guid Identity { get; init; }

    /// <summary>VHDX: changes with the content; what a child remembers.</summary>
    public Guid? DataIdentity { get; init; }

    /// <summary>The parents, nearest first.</summary>
    public IReadOnlyList<string> Parents { get; init; } = [];

    /// <summary>
    /// VHD: the parent's file was written to after this disk was joined to it, by the time that the child remembers. If the parent
    /// was not just copied, compacted or mended, the child's content may be wrong; VHDX refuses such a parent by its data identity.
    /// </summary>
    public bool ParentWrittenLater { get; init; }

    /// <summary>VHDX: the log has not been replayed; the disk was not closed cleanly, or is open elsewhere.</summary>
    public bool NeedsReplay { get; init; }

    /// <summary>Reads a disk's description; writes nothing.</summary>
    /// <exception cref="BlockIOException">The disk cannot be opened.</exception>
    public static DiskInfo Of(
        string path, DiskOpenOptions? options = null, IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        var disk = DiskFactory.Open(path, (options ?? new DiskOpenOptions()) with { ReadOnly = true });
        try
        {
            return Of(disk, progress, cancellation);
        }
        finally
        {
            disk.Close();
        }
    }

    /// <summary>Describes an open disk.</summary>
    public static DiskInfo Of(VirtualDisk disk, IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(disk);
        var meter = new WorkMeter(disk.Length, progress, cancellation);
        var parents = new List<string>();
        for (var parent = disk.Parent; parent is not null; parent = parent.Parent)
        {
            parents.Add(parent.Path);
        }

        var mapped = disk as BlockMappedDisk;
        var (blocks, breaks) = mapped is null ? (0, 0) : CountBlocks(mapped, cancellation);
        var minimum = DiskResize.MinimumLength(disk, meter);
        meter.Finish();
        return new DiskInfo
        {
            Path = disk.Path,
            Format = disk.Format,
            Kind = disk.Kind,
            Length = disk.Length,
            FileLength = mapped?.DataFile.Length ?? (File.Exists(disk.Path) ? new FileInfo(disk.Path).Length : disk.Length),
            MinimumLength = minimum,
            BlockSize = mapped?.BlockSize ?? 0,
            LogicalSectorSize = disk.LogicalSectorSize,
            PhysicalSectorSize = disk.PhysicalSectorSize,
            AllocatedBlocks = blocks,
            FragmentationPercentage = blocks > 1 ? (int)(breaks * 100 / (blocks - 1)) : 0,
            Identity = disk.Identity,
            DataIdentity = (disk as VhdxDisk)?.DataWriteGuid,
            Parents = parents,
            ParentWrittenLater = disk is VhdDisk { Parent: { } above, Header.ParentTimeStamp: > 0 and var joined }
                && VhdChain.TimeStampOf(above.Path) > joined + VhdChain.TimeStampGrain,
            NeedsReplay = disk is VhdxDisk vhdx && vhdx.Header.LogGuid != Guid.Empty,
        };
    }

    private static (long Blocks, long Breaks) CountBlocks(BlockMappedDisk disk, CancellationToken cancellation)
    {
        long blocks = 0;
        long breaks = 0;
        long expected = -1;
        var stride = disk is VhdDisk vhd ? vhd.ExtentSize : disk.BlockSize;
        for (long block = 0; block < disk.BlockCount; block++)
        {
            cancellation.ThrowIfCancellationRequested();
            var entry = disk.Lookup(block);
            if (entry.State is BlockState.Present or BlockState.Partial)
            {
                blocks++;
                breaks += expected >= 0 && entry.FileOffset != expected ? 1 : 0;
                expected = entry.FileOffset + stride;
            }
        }

        return (blocks, breaks);
    }
}
