using System.Text;
using Vitro.Storage.Files;
using Vitro.Storage.Vhd;

namespace Vitro.Storage.Disks;

/// <summary>Finds and opens the parents of differencing VHD files.</summary>
internal static class VhdChain
{
    /// <summary>Seconds by which a file's time may differ though nobody wrote to it: FAT keeps only even ones.</summary>
    internal const uint TimeStampGrain = 2;

    private const uint LongestName = 64 << 10;

    /// <summary>The time a child remembers of its parent: that of the last write to its file, in seconds since 2000; 0 when unknown.</summary>
    internal static uint TimeStampOf(string path) => File.Exists(path) ? VhdFooter.StampOf(new DateTimeOffset(File.GetLastWriteTimeUtc(path), TimeSpan.Zero)) : 0;

    internal static VirtualDisk OpenParent(IDiskFile child, VhdDynamicHeader header, DiskOpenOptions options)
    {
        if (options.AnyParent is { } any)
        {
            return any;
        }

        var tried = new List<string>();
        string? mismatch = null;
        foreach (var path in Candidates(child, header, options))
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

            var parent = options.OpenParent(path, child.Path);
            var problem = parent.Format != DiskFormat.Vhd ? "it is not a VHD file."
                : parent.Identity != header.ParentId && !options.IgnoreParentIdentity
                    ? $"its identity is {parent.Identity}, expected {header.ParentId}." : null;
            if (problem is null)
            {
                return parent;
            }

            mismatch ??= $"{path} is not the parent of {child.Path}: {problem}";
            parent.Close();
        }

        throw new BlockIOException(mismatch is not null
            ? mismatch + $" If it is the right disk all the same, join them with `vitro vhd parent {child.Path} PARENT --force`."
            : $"{child.Path}: its parent was not found; tried {string.Join(", ", tried)}."
                + $" Tell where it is with `vitro vhd parent {child.Path} PARENT`.");
    }

    internal static IEnumerable<string> Candidates(IDiskFile child, VhdDynamicHeader header, DiskOpenOptions options) =>
        ParentPaths.Candidates(
            child.Path,
            Locator(child, header, VhdLocator.Relative),
            [Locator(child, header, VhdLocator.Absolute), header.ParentName],
            options.WindowsPaths);

    private static string? Locator(IDiskFile child, VhdDynamicHeader header, string platform)
    {
        foreach (var locator in header.Locators)
        {
            if (locator.Platform == platform && locator.Length is > 0 and <= LongestName && locator.Offset > 0 && locator.Offset < child.Length)
            {
                var text = new byte[locator.Length];
                return Encoding.Unicode.GetString(text, 0, child.Read(locator.Offset, text)).TrimEnd('\0');
            }
        }

        return null;
    }
}
