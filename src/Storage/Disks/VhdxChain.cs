using Vitro.Storage.Vhdx;

namespace Vitro.Storage.Disks;

/// <summary>Finds and opens the parents of differencing VHDX files.</summary>
internal static class VhdxChain
{
    internal static ParentLocator LocatorFor(string childPath, VhdxDisk parent) => new(new Dictionary<string, string>(StringComparer.Ordinal)
    {
        [ParentLocator.Linkage] = parent.DataWriteGuid.ToString("B"),
        [ParentLocator.RelativePath] = ParentPaths.ToRelative(childPath, parent.Path),
        [ParentLocator.AbsolutePath] = ParentPaths.ToAbsolute(parent.Path),
    });

    internal static VirtualDisk OpenParent(string childPath, ParentLocator locator, VhdxMetadata child, DiskOpenOptions options)
    {
        if (options.AnyParent is { } any)
        {
            return any;
        }

        var tried = new List<string>();
        string? mismatch = null;
        foreach (var path in Candidates(childPath, locator, options))
        {
            if (tried.Contains(path))
            {
                continue;
            }

            tried.Add(path);
            if (!options.FileSystem.Exists(path))
            {
                continue;
            }

            var parent = options.OpenParent(path, childPath);
            var problem = Problem(parent, locator, child, options.IgnoreParentIdentity);
            if (problem is null)
            {
                return parent;
            }

            mismatch ??= $"{path} is not the parent of {childPath}: {problem}";
            parent.Close();
        }

        throw new BlockIOException(mismatch is not null
            ? mismatch + $" If the parent has not been written to since, join them again with `vitro vhd parent {childPath} PARENT --force`."
            : $"{childPath}: its parent was not found; tried {string.Join(", ", tried)}."
                + $" Tell where it is with `vitro vhd parent {childPath} PARENT`.");
    }

    internal static IEnumerable<string> Candidates(string childPath, ParentLocator locator, DiskOpenOptions options) =>
        ParentPaths.Candidates(
            childPath,
            locator.Values.GetValueOrDefault(ParentLocator.RelativePath),
            [locator.Values.GetValueOrDefault(ParentLocator.AbsolutePath), locator.Values.GetValueOrDefault(ParentLocator.VolumePath)],
            options.WindowsPaths);

    private static string? Problem(VirtualDisk parent, ParentLocator locator, VhdxMetadata child, bool ignoreIdentity)
    {
        if (parent is not VhdxDisk disk)
        {
            return "it is not a VHDX file.";
        }

        if (disk.LogicalSectorSize != child.LogicalSectorSize)
        {
            return $"its sectors have {disk.LogicalSectorSize} bytes, the child's {child.LogicalSectorSize}.";
        }

        return ignoreIdentity || locator.Accepts(disk.DataWriteGuid)
            ? null
            : $"its content has changed since the child was made (identity {disk.DataWriteGuid}, expected {locator.Values[ParentLocator.Linkage]}).";
    }
}
