using Vitro.Storage.Disks;
using Vitro.Storage.Operations;
using Vitro.Storage.Sparse;
using Vitro.Storage.Vhd;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>Makes disks longer and shorter.</summary>
public static class DiskResize
{
    /// <summary>
    /// Sets a disk's length. Growing adds zeroes at the end. Shrinking refuses to cut a partition, or, on a disk without partitions,
    /// stored content. An interrupted resize leaves the old length or the new one.
    /// </summary>
    /// <param name="path">The disk; not a parent in use.</param>
    /// <param name="length">Bytes, a multiple of the sector size; 0 is the least that is allowed.</param>
    /// <param name="options">How to open.</param>
    /// <param name="progress">Told of the disk that has been looked through for content, in bytes.</param>
    /// <param name="cancellation">Ends the resize before anything is changed.</param>
    /// <exception cref="BlockIOException">The length is not allowed, the disk is in use, or the file fails.</exception>
    public static void Resize(
        string path, long length, DiskOpenOptions? options = null,
        IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        options ??= new DiskOpenOptions();
        var disk = DiskFactory.Open(path, options with { ReadOnly = false });
        try
        {
            var meter = new WorkMeter(disk.Length, progress, cancellation);
            var minimum = MinimumLength(disk, meter);
            length = length == 0 ? minimum : length;
            if (length % disk.LogicalSectorSize != 0 || length <= 0)
            {
                throw new BlockIOException($"{path}: {length} bytes are not whole sectors of {disk.LogicalSectorSize}.");
            }

            if (length < disk.Length && length < minimum)
            {
                throw new BlockIOException($"{path}: {length} bytes would cut a partition or stored content; at least {minimum} are needed.");
            }

            CheckLimit(disk, length);
            switch (disk)
            {
                case FlatDisk flat:
                    flat.SetLength(length);
                    break;
                case VhdDisk vhd:
                    vhd.SetLength(length);
                    break;
                case VhdxDisk vhdx:
                    if (!vhdx.TableHolds(length))
                    {
                        vhdx.RelocateTable(length, cancellation);
                        disk.Close();
                        disk = vhdx = (VhdxDisk)DiskFactory.Open(path, options with { ReadOnly = false });
                    }

                    vhdx.SetLength(length);
                    break;
            }

            meter.Finish();
        }
        finally
        {
            disk.Close();
        }
    }

    /// <summary>The least length the disk can be given.</summary>
    internal static long MinimumLength(VirtualDisk disk, WorkMeter meter)
    {
        var partitions = PartitionTable.Read(disk);
        long end = 0;
        if (partitions.Count > 0)
        {
            end = partitions.Max(partition => partition.Offset + partition.Length);
        }
        else
        {
            for (long offset = 0; offset < disk.Length;)
            {
                meter.Reached(offset);
                var content = ChainContent.Describe(disk, below: null, offset, disk.Length - offset, out var length, out _);
                offset += length;
                end = content == RangeContent.Data ? offset : end;
            }
        }

        var parent = disk.Parent?.Length ?? 0;
        return Math.Min(Math.Max(Math.Max(end, parent), disk.LogicalSectorSize), disk.Length);
    }

    private static void CheckLimit(VirtualDisk disk, long length)
    {
        var limit = disk.Format switch
        {
            DiskFormat.Vhd => VhdLayout.MaximumDiskSize,
            DiskFormat.Vhdx => VhdxLayout.MaximumDiskSize,
            _ => long.MaxValue - VhdFooter.Size,
        };
        if (length > limit)
        {
            throw new BlockIOException($"{disk.Path}: a {disk.Format} disk has at most {limit} bytes.");
        }
    }
}
