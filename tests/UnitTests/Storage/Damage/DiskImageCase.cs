using System.Buffers.Binary;
using Vitro.Storage;
using Vitro.Storage.Files;
using Vitro.Storage.Vhd;
using Vitro.Storage.Vhdx;
using Vitro.UnitTests.Storage.Crash;

namespace Vitro.UnitTests.Storage.Damage;

/// <summary>
/// Runs the disk parsers on a real image with changes: the first byte chooses the image, bit 7 of it whether checksums are put
/// right afterwards, and records of structure, offset, length and bytes follow.
/// </summary>
internal static class DiskImageCase
{
    internal const int Images = 6;

    private const string Disk = "/disks/disk";
    private const string Parent = "/disks/parent";
    private const int Megabyte = 1 << 20;
    private const int RecordHeader = 4;
    private const byte FixChecksums = 0x80;

    private static readonly Lazy<CrashFileSystem>[] Corpus =
        [.. Enumerable.Range(0, Images).Select(image => new Lazy<CrashFileSystem>(() => Make(image)))];

    private static readonly int[] Structures =
    [
        0, 64 << 10, 128 << 10, 192 << 10, 256 << 10, Megabyte, Megabyte + 4096, 2 * Megabyte, (2 * Megabyte) + (64 << 10),
        (2 * Megabyte) + (68 << 10), 3 * Megabyte, 512, 1536, 2048, -512, -1,
    ];

    /// <summary>Opens, reads and checks; only <see cref="BlockIOException"/> may come out, and it is taken here.</summary>
    internal static void Run(ReadOnlySpan<byte> input)
    {
        if (input.IsEmpty)
        {
            return;
        }

        var files = Corpus[(input[0] & 0x7F) % Images].Value.Settled();
        var file = files.Open(Disk, writable: true, DiskLocking.None);
        for (var rest = input[1..]; rest.Length > RecordHeader;)
        {
            var place = Structures[rest[0] % Structures.Length];
            var offset = BinaryPrimitives.ReadUInt16LittleEndian(rest[1..]);
            offset = (ushort)((offset & 0x8000) != 0 ? offset & 0x7F : offset & 0xFFF); // the fields that matter come first
            var length = Math.Min(1 + (rest[3] % 16), rest.Length - RecordHeader);
            var at = place >= 0 ? place + offset : Math.Max(0, file.Length - 512 + (offset % 512));
            if (place == -1)
            {
                file.SetLength(Math.Max(0, file.Length - (offset * 256)));
            }
            else
            {
                file.Write(at, rest.Slice(RecordHeader, length));
            }

            rest = rest[(RecordHeader + length)..];
        }

        if ((input[0] & FixChecksums) != 0)
        {
            PutChecksumsRight(file);
        }

        Use(files, readOnly: true);
        Use(files, readOnly: false);
    }

    private static void Use(CrashFileSystem files, bool readOnly)
    {
        var options = new DiskOpenOptions { FileSystem = files, ReadOnly = readOnly };
        try
        {
            _ = DiskCheck.Run(Disk, repair: false, options);
            var disk = DiskFactory.Open(Disk, options);
            try
            {
                foreach (var offset in new[] { 0, disk.Length / 2 & -4096, Math.Max(0, disk.Length - 65536) & -4096 })
                {
                    var buffer = new byte[(int)Math.Min(65536, disk.Length - offset) & -512];
                    _ = disk.Read(offset, BufferSlice.Of(buffer), cachedOnly: false);
                    _ = disk.Describe(offset, out _);
                    if (!readOnly && disk.LogicalSectorSize == 512)
                    {
                        disk.Write(offset, BufferSlice.Of(buffer), durable: false);
                    }
                }
            }
            finally
            {
                disk.Close();
            }
        }
        catch (BlockIOException)
        {
            // What a damaged file deserves.
        }
    }

    private static void PutChecksumsRight(IDiskFile file)
    {
        foreach (var (offset, length) in new[] { (64 << 10, 4096), (128 << 10, 4096), (192 << 10, 65536), (256 << 10, 65536), (Megabyte, 8192) })
        {
            var bytes = new byte[length];
            if (file.Read(offset, bytes) == length && BinaryPrimitives.ReadUInt32LittleEndian(bytes) != 0)
            {
                VhdxChecksum.Set(bytes, 4);
                file.Write(offset, bytes);
            }
        }

        foreach (var (offset, length, field) in new[] { (0L, 512, 64), (512L, 1024, 36), (file.Length - 512, 512, 64) })
        {
            var bytes = new byte[length];
            if (offset >= 0 && file.Read(offset, bytes) == length && (VhdFooter.IsPresent(bytes) || bytes.AsSpan().StartsWith("cxsparse"u8)))
            {
                BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(field), VhdFooter.Checksum(bytes, field));
                file.Write(offset, bytes);
            }
        }
    }

    private static CrashFileSystem Make(int image)
    {
        var format = image < 3 ? DiskFormat.Vhdx : DiskFormat.Vhd;
        var kind = image switch
        {
            2 or 4 => DiskKind.Differencing,
            5 => DiskKind.Fixed,
            _ => DiskKind.Dynamic,
        };
        var files = new CrashFileSystem();
        var options = new DiskCreateOptions { Format = format, Length = (4 * Megabyte) + 4096, BlockSize = Megabyte, FileSystem = files };
        if (kind == DiskKind.Differencing)
        {
            DiskFactory.Create(Parent, options);
        }

        DiskFactory.Create(Disk, options with { Kind = kind, ParentPath = kind == DiskKind.Differencing ? Parent : null });
        var disk = DiskFactory.Open(Disk, new DiskOpenOptions { FileSystem = files });
        disk.Write(4096, BufferSlice.Of(Enumerable.Range(0, 8192).Select(i => (byte)i).ToArray()), durable: true);
        if (image == 1)
        {
            // Not closed: its log must be replayed.
            return files.After(files.Events, CrashMode.None, new Random(1));
        }

        disk.Close();
        return files.Settled();
    }
}
