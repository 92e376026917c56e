namespace Vitro.UnitTests.Storage;

/// <summary>A folder that goes when the test ends; in memory where the host allows, so that no test waits for a disk.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    private const string MemoryFolder = "/dev/shm";

    internal string Root { get; } = Create();

    internal string File(string name) => Path.Combine(Root, name);

    public void Dispose() => Directory.Delete(Root, recursive: true);

    private static string Create() => Directory.Exists(MemoryFolder)
        ? Directory.CreateDirectory(Path.Combine(MemoryFolder, "vitro-storage-" + Guid.NewGuid().ToString("N"))).FullName
        : Directory.CreateTempSubdirectory("vitro-storage-").FullName;
}
