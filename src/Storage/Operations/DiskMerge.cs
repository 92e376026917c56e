using Vitro.Storage.Operations;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>Moves what differencing disks hold into a disk below them.</summary>
public static class DiskMerge
{
    /// <summary>
    /// Merges <paramref name="childPath"/>, and every layer between, into the ancestor at <paramref name="targetPath"/>. Until the
    /// end the chain reads as before, whatever interrupts the merge, which can then be started again. Afterwards the ancestor's
    /// content is the child's, and it answers to the child's data identity, so that children of the child can be given it as parent.
    /// </summary>
    /// <param name="childPath">A differencing disk.</param>
    /// <param name="targetPath">One of its ancestors; null is its parent.</param>
    /// <param name="keepMerged">Leaves the merged files, and the ancestor its identity; else they are deleted once the ancestor is durable.</param>
    /// <param name="options">How to open; never read-only.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops the merge; the chain stays as it was to its readers.</param>
    /// <exception cref="BlockIOException">The chain is not one, is in use, or a file fails.</exception>
    public static void Merge(
        string childPath, string? targetPath = null, bool keepMerged = false, DiskOpenOptions? options = null,
        IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        options = (options ?? new DiskOpenOptions()) with { ReadOnly = true };
        var (paths, length) = FindLevels(childPath, targetPath, options);
        targetPath = paths[^1];
        GrowTarget(targetPath, length, options);

        var target = DiskFactory.Open(targetPath, options with { ReadOnly = false, KeepDataIdentity = true });
        VirtualDisk child;
        try
        {
            child = DiskFactory.Open(childPath, options with { KnownParent = target });
        }
        catch
        {
            target.Close();
            throw;
        }

        var identity = (child as VhdxDisk)?.DataWriteGuid;
        try
        {
            new RangeCopier(child, below: target, target, targetIsZero: false, progress, cancellation).Run();
            target.Flush();
        }
        finally
        {
            child.Close(); // and the target with it
        }

        if (keepMerged)
        {
            return;
        }

        foreach (var path in paths.SkipLast(1))
        {
            options.FileSystem.Delete(path);
        }

        // Last, because the merged files would no longer accept the target: should a crash come before, `--force` joins their children to it.
        if (identity is { } dataIdentity)
        {
            var merged = (VhdxDisk)DiskFactory.Open(targetPath, options with { ReadOnly = false, KeepDataIdentity = true });
            try
            {
                merged.TakeDataIdentity(dataIdentity);
            }
            finally
            {
                merged.Close();
            }
        }
    }

    private static (List<string> Paths, long Length) FindLevels(string childPath, string? targetPath, DiskOpenOptions options)
    {
        var child = DiskFactory.Open(childPath, options);
        try
        {
            var paths = new List<string>();
            for (VirtualDisk? level = child; level is not null; level = level.Parent)
            {
                paths.Add(level.Path);
                var wanted = targetPath is null ? paths.Count == 2 : paths.Count > 1 && Path.GetFullPath(level.Path) == Path.GetFullPath(targetPath);
                if (wanted)
                {
                    return (paths, child.Length);
                }
            }

            throw new BlockIOException(child.Parent is null
                ? $"{childPath}: it is not a differencing disk, so there is nothing to merge."
                : $"{targetPath} is not below {childPath}; the chain is {string.Join(" over ", paths)}.");
        }
        finally
        {
            child.Close();
        }
    }

    private static void GrowTarget(string path, long length, DiskOpenOptions options)
    {
        var target = DiskFactory.Open(path, options);
        var needed = target.Length < length;
        target.Close();
        if (needed)
        {
            DiskResize.Resize(path, length, options: options with { KeepDataIdentity = true });
        }
    }
}
