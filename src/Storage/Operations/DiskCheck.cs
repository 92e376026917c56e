using Vitro.Storage.Files;
using Vitro.Storage.Operations;

namespace Vitro.Storage;

/// <summary>Proves a disk's file sound, or says what is wrong, and mends what can be mended.</summary>
public static class DiskCheck
{
    /// <summary>Checks one file; its parents are files of their own. Without repair nothing is written.</summary>
    /// <param name="path">The file.</param>
    /// <param name="repair">Mends what can be mended: damaged copies from sound ones, table entries that point nowhere are dropped.</param>
    /// <param name="options">How to open.</param>
    /// <param name="progress">Told of the table that is proved, in bytes.</param>
    /// <param name="cancellation">Ends the check before the table's entries are mended.</param>
    /// <exception cref="BlockIOException">The file cannot be read.</exception>
    public static DiskCheckReport Run(
        string path, bool repair = false, DiskOpenOptions? options = null,
        IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        options ??= new DiskOpenOptions();
        using var file = options.FileSystem.Open(path, writable: repair, options.Locking);
        return Run(file, repair, options.Format ?? DiskFactory.DetectFormat(file), progress, cancellation);
    }

    internal static DiskCheckReport Run(
        IDiskFile file, bool repair, DiskFormat format, IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default) => format switch
        {
            DiskFormat.Vhdx => new VhdxCheck(file, repair, progress, cancellation).Run(),
            DiskFormat.Vhd => new VhdCheck(file, repair, progress, cancellation).Run(),
            _ => new DiskCheckReport([], NeedsReplay: false, file.Length, 0),
        };
}
