using Vitro.Storage.Sparse;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>How thoroughly <see cref="DiskCompaction.Compact"/> looks for space.</summary>
public enum CompactionMode
{
    /// <summary>Blocks that the guest trimmed, and gaps of the file.</summary>
    Quick,

    /// <summary>Also blocks that hold only zeroes, which all are read for.</summary>
    Full,
}

/// <summary>Makes the file of a growing disk as short as its content allows.</summary>
public static class DiskCompaction
{
    /// <summary>Compacts a dynamic or differencing disk; its content stays, whatever interrupts.</summary>
    /// <returns>Bytes by which the file has become shorter.</returns>
    /// <exception cref="BlockIOException">The disk is of another kind or in use, or the file fails.</exception>
    public static long Compact(
        string path, CompactionMode mode = CompactionMode.Full, DiskOpenOptions? options = null,
        IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        // What is given back was zero or trimmed: the content as children see it stays, so their links must.
        var opened = DiskFactory.Open(path, (options ?? new DiskOpenOptions()) with { ReadOnly = false, KeepDataIdentity = true });
        try
        {
            if (opened is not BlockMappedDisk { Kind: not DiskKind.Fixed } disk)
            {
                throw new BlockIOException($"{path}: only dynamic and differencing disks can be compacted.");
            }

            // First the disk is looked through, then what lies at the file's end is moved.
            var before = disk.DataFile.Length;
            var total = disk.Length + before;
            disk.ReleaseZeroBlocks(readContent: mode == CompactionMode.Full, done => progress?.Report(new DiskProgress(done, total)), cancellation);
            if (disk is VhdxDisk vhdx)
            {
                vhdx.Flush(); // a bitmap must be there as long as the table on the storage has a block that needs it
                vhdx.ReleaseUnusedBitmaps();
            }

            new ExtentCompactor(
                disk, moved => progress?.Report(new DiskProgress(disk.Length + Math.Min(moved, before), total)), cancellation).Run();
            progress?.Report(new DiskProgress(total, total));
            return before - disk.DataFile.Length;
        }
        finally
        {
            opened.Close();
        }
    }
}
