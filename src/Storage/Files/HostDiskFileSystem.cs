using Vitro.Platform;

namespace Vitro.Storage.Files;

/// <summary>The host's files.</summary>
internal sealed class HostDiskFileSystem : IDiskFileSystem
{
    internal static HostDiskFileSystem Instance { get; } = new();

    public IDiskFile Open(string path, bool writable, DiskLocking locking)
    {
        try
        {
            var file = HostFile.Open(path, writable ? HostFileMode.ReadWrite : HostFileMode.Read);
            return Lock(file, writable, locking);
        }
        catch (PlatformException error)
        {
            throw HostDiskFile.Wrap(error);
        }
    }

    public IDiskFile Create(string path)
    {
        try
        {
            return Lock(HostFile.Open(path, HostFileMode.CreateNew), writable: true, DiskLocking.Normal);
        }
        catch (PlatformException error)
        {
            throw HostDiskFile.Wrap(error);
        }
    }

    public bool Exists(string path) => File.Exists(path);

    public void Delete(string path) => File.Delete(path);

    public void Replace(string temporary, string path, bool durable)
    {
        try
        {
            File.Move(temporary, path, overwrite: true);
            if (durable)
            {
                HostFile.SyncDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            }
        }
        catch (PlatformException error)
        {
            throw HostDiskFile.Wrap(error);
        }
    }

    private static HostDiskFile Lock(HostFile file, bool writable, DiskLocking locking)
    {
        var locked = false;
        try
        {
            locked = locking == DiskLocking.None || file.TryLock(exclusive: writable);
            return locked
                ? new HostDiskFile(file, readOnly: !writable)
                : throw new BlockIOException(writable
                    ? $"{file.Path}: the file is in use (open in another program, or the parent of an open disk), so it cannot be opened for writing."
                    : $"{file.Path}: the file is open for writing elsewhere.");
        }
        finally
        {
            if (!locked)
            {
                file.Dispose();
            }
        }
    }
}
