using System.Runtime.CompilerServices;

namespace Vitro.UnitTests.Architecture;

/// <summary>Finds the source tree the tests were built from.</summary>
internal static class Repository
{
    internal static string Root { get; } = Find();

    internal static IEnumerable<string> SourceFiles(string folder) =>
        Directory.EnumerateFiles(Path.Combine(Root, folder), "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal));

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
