using Vitro.Storage.Disks;
using Vitro.Storage.Files;

namespace Vitro.Storage;

/// <summary>Copies a disk into a new one of any kind and format.</summary>
public static class DiskConversion
{
    /// <summary>
    /// Makes <paramref name="targetPath"/> with the content of <paramref name="sourcePath"/> as seen through its chain. The target
    /// has its name only when it is complete and durable; an interrupted conversion leaves nothing and never touches the source.
    /// </summary>
    /// <param name="sourcePath">Any disk.</param>
    /// <param name="targetPath">The new file.</param>
    /// <param name="target">Format, kind and block size of the target; length and sector size 0 or default take the source's.</param>
    /// <param name="source">How to open the source; always read-only.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops the conversion.</param>
    /// <exception cref="BlockIOException">The options are not allowed, or a file fails.</exception>
    public static void Convert(
        string sourcePath, string targetPath, DiskCreateOptions target, DiskOpenOptions? source = null,
        IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        var files = target.FileSystem;
        var disk = DiskFactory.Open(sourcePath, (source ?? new DiskOpenOptions { FileSystem = files }) with { ReadOnly = true });
        try
        {
            if (!target.Overwrite && files.Exists(targetPath))
            {
                throw new BlockIOException($"{targetPath}: the file exists already.");
            }

            var options = target with
            {
                Length = target.Length != 0 ? target.Length : disk.Length,
                LogicalSectorSize = target.Format == DiskFormat.Vhd ? 512 : disk.LogicalSectorSize,
                PhysicalSectorSize = target.Format == DiskFormat.Vhd ? 512 : disk.PhysicalSectorSize,
                Kind = target.Format == DiskFormat.Raw ? DiskKind.Fixed : target.Kind,
            };
            if (options.Length < disk.Length)
            {
                throw new BlockIOException($"{targetPath}: {options.Length} bytes do not hold the source's {disk.Length}; shrink the source first.");
            }

            if (options.Kind == DiskKind.Differencing)
            {
                throw new BlockIOException($"{targetPath}: a disk is not converted to a differencing one; make that with `vitro vhd new --parent`.");
            }

            NewFile.Write(files, targetPath, file =>
            {
                var borrowed = new BorrowedFile(file, options.SkipSync);
                DiskFactory.CreateIn(borrowed, targetPath, options, parent: null);
                var copy = DiskFactory.OpenFile(borrowed, new DiskOpenOptions { FileSystem = files, Format = options.Format });
                try
                {
                    new Operations.RangeCopier(disk, below: null, copy, targetIsZero: true, progress, cancellation).Run();
                }
                finally
                {
                    copy.Close();
                }
            }, options.SkipSync);
        }
        finally
        {
            disk.Close();
        }
    }
}
