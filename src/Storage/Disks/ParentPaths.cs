using System.Diagnostics.CodeAnalysis;

namespace Vitro.Storage.Disks;

/// <summary>Turns the names by which a child remembers its parent into paths of this host.</summary>
internal static class ParentPaths
{
    // Windows' way to write paths that are taken as they are: \\?\D:\Disks.
    private const string VerbatimPrefix = @"\\?\";

    /// <summary>The form Windows gives relative names: from the child's folder, with backslashes.</summary>
    internal static string ToRelative(string childPath, string parentPath)
    {
        var relative = Path.GetRelativePath(FolderOf(childPath), Path.GetFullPath(parentPath)).Replace('/', '\\');
        return relative.StartsWith("..", StringComparison.Ordinal) || Path.IsPathRooted(relative) ? relative : ".\\" + relative;
    }

    /// <summary>The form in which whole paths are stored: Windows separators, so that others at least find the bare name.</summary>
    internal static string ToAbsolute(string path) => Path.GetFullPath(path).Replace('/', '\\');

    /// <summary>Paths to try, the likeliest first.</summary>
    /// <param name="childPath">The child's own path.</param>
    /// <param name="relative">The remembered path from the child's folder, or null.</param>
    /// <param name="absolute">The remembered whole paths, of Windows or of this host.</param>
    /// <param name="mappings">Windows folders and what they are here.</param>
    internal static IEnumerable<string> Candidates(
        string childPath, string? relative, IEnumerable<string?> absolute, IReadOnlyDictionary<string, string> mappings)
    {
        var folder = FolderOf(childPath);
        if (IsUsable(relative))
        {
            yield return Path.GetFullPath(Path.Combine(folder, relative.Replace('\\', '/')));
        }

        foreach (var path in absolute)
        {
            if (!IsUsable(path))
            {
                continue;
            }

            var windows = path.StartsWith(VerbatimPrefix, StringComparison.Ordinal) ? path[VerbatimPrefix.Length..] : path;
            foreach (var (from, to) in mappings)
            {
                var below = from.TrimEnd('\\');
                if (windows.StartsWith(below, StringComparison.OrdinalIgnoreCase) && windows.Length > below.Length && windows[below.Length] == '\\')
                {
                    yield return Path.GetFullPath(Path.Combine(to, windows[below.Length..].Replace('\\', '/').TrimStart('/')));
                }
            }

            if (path.StartsWith('/'))
            {
                yield return path;
            }
            else if (path.StartsWith('\\') && !path.StartsWith("\\\\", StringComparison.Ordinal))
            {
                yield return path.Replace('\\', '/');
            }

            // A chain copied from Windows without its folders: the parent's bare name beside the child.
            var name = path[(path.LastIndexOfAny(['\\', '/']) + 1)..];
            if (name.Length > 0)
            {
                yield return Path.Combine(folder, name);
            }
        }
    }

    // The names come from a file: a NUL ends no path of this host, and is in none.
    private static bool IsUsable([NotNullWhen(true)] string? name) => !string.IsNullOrEmpty(name) && !name.Contains('\0', StringComparison.Ordinal);

    private static string FolderOf(string path) => Path.GetDirectoryName(Path.GetFullPath(path))!;
}
