using Vitro.Storage.Disks;
using Vitro.Storage.Files;
using Vitro.Storage.Vhd;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>Opens and creates disks of every format.</summary>
public static class DiskFactory
{
    /// <summary>Opens a disk, and its parents when it is a differencing disk; the format is recognised by content, not by name.</summary>
    /// <exception cref="BlockIOException">The file cannot be opened, is in use, or is damaged; the message says where and what helps.</exception>
    public static VirtualDisk Open(string path, DiskOpenOptions? options = null)
    {
        options ??= new DiskOpenOptions();
        if (options is { Locking: DiskLocking.None, ReadOnly: false })
        {
            throw new BlockIOException($"{path}: a disk is not opened for writing without a lock.");
        }

        var file = options.FileSystem.Open(path, writable: !options.ReadOnly, options.Locking);
        try
        {
            return OpenFile(file, options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Creates an empty disk. The file has its name only when it is complete and durable.</summary>
    /// <exception cref="BlockIOException">The options are not allowed, the file exists, or the host refuses.</exception>
    public static void Create(string path, DiskCreateOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var files = options.FileSystem;
        if (!options.Overwrite && files.Exists(path))
        {
            throw new BlockIOException($"{path}: the file exists already.");
        }

        VirtualDisk? parent = null;
        if (options.Kind == DiskKind.Differencing)
        {
            parent = Open(
                options.ParentPath ?? throw new BlockIOException($"{path}: a differencing disk needs a parent."),
                new DiskOpenOptions { ReadOnly = true, FileSystem = files });
        }

        try
        {
            NewFile.Write(files, path, file => CreateIn(file, path, options, parent));
        }
        finally
        {
            parent?.Close();
        }
    }

    /// <summary>Opens a disk in an open file, which the disk owns on success.</summary>
    internal static VirtualDisk OpenFile(IDiskFile file, DiskOpenOptions options) => (options.Format ?? DetectFormat(file)) switch
    {
        DiskFormat.Vhdx => VhdxDisk.Open(
            file, (locator, metadata) => VhdxChain.OpenParent(file.Path, locator, metadata, options), options.KeepDataIdentity),
        DiskFormat.Vhd => VhdDisk.Open(file, header => VhdChain.OpenParent(file, header, options)),
        _ => new FlatDisk(file, options.RawSectorSize),
    };

    /// <summary>Recognises a file's format by its content.</summary>
    internal static DiskFormat DetectFormat(IDiskFile file)
    {
        var start = new byte[512];
        _ = file.Read(0, start);
        if (FileTypeIdentifier.IsPresent(start))
        {
            return DiskFormat.Vhdx;
        }

        if (VhdFooter.IsPresent(start))
        {
            return DiskFormat.Vhd;
        }

        // Fixed VHDs have only the footer; early Virtual PC wrote 511 bytes of it.
        var end = file.Length;
        foreach (var size in new[] { VhdFooter.Size, VhdFooter.Size - 1 })
        {
            if (end > size && file.Read(end - size, start) >= size && VhdFooter.TryRead(start, out _, out _))
            {
                return DiskFormat.Vhd;
            }
        }

        return DiskFormat.Raw;
    }

    /// <summary>Writes a new disk's structures into an empty file.</summary>
    internal static void CreateIn(IDiskFile file, string path, DiskCreateOptions options, VirtualDisk? parent)
    {
        if (parent is not null)
        {
            options = options with
            {
                Length = options.Length != 0 ? options.Length : parent.Length,
                LogicalSectorSize = parent.LogicalSectorSize,
                PhysicalSectorSize = parent.PhysicalSectorSize,
            };
            if (options.Length < parent.Length || options.Format != parent.Format || parent.Format == DiskFormat.Raw)
            {
                throw new BlockIOException(
                    $"{path}: a differencing disk has the format of its parent, VHD or VHDX, and at least its length ({parent.Length}).");
            }
        }

        switch (options.Format)
        {
            case DiskFormat.Vhdx:
                VhdxCreator.Create(
                    file, VhdxCreator.Validate(path, options), parent is VhdxDisk disk ? VhdxChain.LocatorFor(path, disk) : null);
                break;
            case DiskFormat.Vhd:
                VhdCreator.Create(
                    file, VhdCreator.Validate(path, options), parent, parent is null ? 0 : VhdChain.TimeStampOf(parent.Path));
                break;
            default:
                if (options.Kind != DiskKind.Fixed || options.Length <= 0 || options.Length % options.LogicalSectorSize != 0)
                {
                    throw new BlockIOException($"{path}: a raw file is fixed and has whole sectors.");
                }

                file.SetLength(options.Length);
                if (!options.Sparse)
                {
                    file.Reserve(0, options.Length);
                }

                file.Flush();
                break;
        }
    }
}
