using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Storage;

namespace Vitro.WorkerProcess.Saving;

/// <summary>
/// What the disks of a saved machine were like when it was saved. A guest that goes on over a disk that somebody has written
/// since destroys it: its own cached blocks are of another time.
/// </summary>
internal static class SavedDisks
{
    internal const int Version = 1;
    private const ushort DiskTag = 1;

    /// <summary>Writes what each disk is like; always the same number of bytes for the same disks.</summary>
    internal static void Write(SavedStateWriter writer, IReadOnlyList<VirtualDisk> disks)
    {
        foreach (var disk in disks)
        {
            var (length, written) = FileState(disk.Path);
            writer.Group(DiskTag, group =>
            {
                group.UInt32(Tag.Format, (uint)disk.Format);
                group.UInt64(Tag.Length, (ulong)disk.Length);
                group.Bytes(Tag.Identity, disk.Identity.ToByteArray());
                group.Bytes(Tag.ContentIdentity, disk.ContentIdentity.ToByteArray());
                group.UInt64(Tag.FileLength, (ulong)length);
                group.UInt64(Tag.FileWritten, (ulong)written);
            });
        }
    }

    /// <summary>Compares the disks with what they were.</summary>
    /// <exception cref="DefinitionException">One is another disk, or has been written since; the message names it.</exception>
    internal static void Check(SavedStateReader reader, IReadOnlyList<VirtualDisk> disks)
    {
        var saved = reader.Groups(DiskTag).Take(disks.Count + 1).ToArray();
        if (saved.Length != disks.Count)
        {
            throw new SavedStateException($"The file describes {saved.Length} disks instead of {disks.Count}.");
        }

        for (var i = 0; i < saved.Length; i++)
        {
            if (Difference(saved[i], disks[i]) is { } difference)
            {
                throw new DefinitionException(
                    "--restore",
                    $"{disks[i].Path} {difference}, and the guest would destroy what is on it",
                    "Give the disk as it was by --disk, or --accept-changed-disks to go on at your own risk");
            }
        }
    }

    private static string? Difference(SavedStateReader saved, VirtualDisk disk)
    {
        if (saved.UInt64(Tag.Length) != (ulong)disk.Length || !saved.Bytes(Tag.Identity).SequenceEqual(disk.Identity.ToByteArray()))
        {
            return "is not the disk of the saved machine";
        }

        // A format with an identity of its content tells by itself; for the others the file's time and length must do.
        if (disk.ContentIdentity != Guid.Empty)
        {
            return saved.Bytes(Tag.ContentIdentity).SequenceEqual(disk.ContentIdentity.ToByteArray()) ? null : Changed;
        }

        var (length, written) = FileState(disk.Path);
        return saved.UInt64(Tag.FileLength) == (ulong)length && saved.UInt64(Tag.FileWritten) == (ulong)written ? null : Changed;
    }

    private const string Changed = "has changed since the machine was saved";

    private static (long Length, long Written) FileState(string path)
    {
        var file = new FileInfo(path);
        return file.Exists && (file.Attributes & FileAttributes.Device) == 0 ? (file.Length, file.LastWriteTimeUtc.Ticks) : (0, 0);
    }

    private static class Tag
    {
        internal const ushort Format = 1;
        internal const ushort Length = 2;
        internal const ushort Identity = 3;
        internal const ushort ContentIdentity = 4;
        internal const ushort FileLength = 5;
        internal const ushort FileWritten = 6;
    }
}
