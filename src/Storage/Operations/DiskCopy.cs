using Vitro.Storage.Operations;

namespace Vitro.Storage;

/// <summary>Copies a disk that is open and in use, as it is at one moment.</summary>
public static class DiskCopy
{
    /// <summary>
    /// Makes <paramref name="targetPath"/> with what <paramref name="source"/> holds, as seen through its chain, at the moment at
    /// which the copy begins: every change that had completed is in it, none that begins later is. Reads and writes go on
    /// meanwhile; a write to a part that has not been copied yet waits until that part has been. The target has its name only when
    /// it is complete and durable; a copy that fails or is interrupted leaves nothing, and the source goes on as if there had been none.
    /// </summary>
    /// <param name="source">An open disk; one opened for reading can be copied as well.</param>
    /// <param name="targetPath">The new file.</param>
    /// <param name="target">Format, kind and block size of the target; length and sector size 0 or default take the source's.</param>
    /// <param name="atMoment">
    /// Runs at that moment, while all changes wait: the place to begin a new point of a <see cref="ChangeTracker"/>, or to save what
    /// belongs to the disk. It must not change the disk.
    /// </param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops the copy.</param>
    /// <exception cref="BlockIOException">The options are not allowed, or a file fails.</exception>
    public static void Run(
        VirtualDisk source, string targetPath, DiskCreateOptions target, Action? atMoment = null,
        IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        NewDisk.Write(
            targetPath, NewDisk.OptionsFor(source, targetPath, target),
            copy => new MomentCopier(source, copy, progress, cancellation).Run(atMoment));
    }
}
