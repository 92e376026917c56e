using Vitro.Storage.Disks;
using Vitro.Storage.Files;

namespace Vitro.Storage.Operations;

/// <summary>Writes a disk with content of another under a temporary name, so that the real name is only ever that of a whole one.</summary>
internal static class NewDisk
{
    /// <summary>The options of a disk that is to hold a source's content.</summary>
    /// <exception cref="BlockIOException">It cannot.</exception>
    internal static DiskCreateOptions OptionsFor(VirtualDisk source, string path, DiskCreateOptions target)
    {
        if (!target.Overwrite && target.FileSystem.Exists(path))
        {
            throw new BlockIOException($"{path}: the file exists already.");
        }

        var options = target with
        {
            Length = target.Length != 0 ? target.Length : source.Length,
            LogicalSectorSize = target.Format == DiskFormat.Vhd ? 512 : source.LogicalSectorSize,
            PhysicalSectorSize = target.Format == DiskFormat.Vhd ? 512 : source.PhysicalSectorSize,
            Kind = target.Format == DiskFormat.Raw ? DiskKind.Fixed : target.Kind,
        };
        if (options.Length < source.Length)
        {
            throw new BlockIOException($"{path}: {options.Length} bytes do not hold the source's {source.Length}; shrink the source first.");
        }

        return options.Kind != DiskKind.Differencing ? options
            : throw new BlockIOException($"{path}: a disk is not converted to a differencing one; make that with `vitro vhd new --parent`.");
    }

    /// <summary>Creates the disk, lets it be filled, and gives it its name once it is complete and durable.</summary>
    internal static void Write(string path, DiskCreateOptions options, Action<VirtualDisk> fill) =>
        NewFile.Write(options.FileSystem, path, file =>
        {
            var borrowed = new BorrowedFile(file, options.SkipSync);
            DiskFactory.CreateIn(borrowed, path, options, parent: null);
            var disk = DiskFactory.OpenFile(borrowed, new DiskOpenOptions { FileSystem = options.FileSystem, Format = options.Format });
            try
            {
                fill(disk);
            }
            finally
            {
                disk.Close();
            }
        }, options.SkipSync);
}
