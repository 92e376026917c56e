using Vitro.Storage.Operations;

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
            NewDisk.Write(
                targetPath, NewDisk.OptionsFor(disk, targetPath, target),
                copy => new RangeCopier(disk, below: null, copy, targetIsZero: true, progress, cancellation).Run());
        }
        finally
        {
            disk.Close();
        }
    }
}
