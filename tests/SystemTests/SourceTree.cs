using System.Runtime.CompilerServices;

namespace Vitro.SystemTests;

/// <summary>Finds the source tree the tests were built from.</summary>
internal static class SourceTree
{
    internal static string Root { get; } = Find();

    private static string Find([CallerFilePath] string path = "")
    {
        var folder = Path.GetDirectoryName(path);
        while (folder is not null && !File.Exists(Path.Combine(folder, "Vitro.slnx")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new InvalidOperationException("Vitro.slnx was not found above " + path);
    }
}
