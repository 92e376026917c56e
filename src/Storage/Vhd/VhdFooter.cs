using System.Buffers.Binary;
using System.Text;

namespace Vitro.Storage.Vhd;

/// <summary>What the footer says the disk is.</summary>
internal enum VhdDiskType
{
    Fixed = 2,
    Dynamic = 3,
    Differencing = 4,
}

/// <summary>The footer that ends every VHD and, as a copy, begins the growing ones (VHD specification, "Hard Disk Footer Format").</summary>
internal sealed record VhdFooter
{
    internal const int Size = 512;

    /// <summary>Data offset of a fixed disk.</summary>
    internal const long NoDataOffset = -1;

    private const int ChecksumOffset = 64;
    private const uint Version = 0x00010000;
    private const uint Reserved = 2;

    private static readonly DateTimeOffset Epoch = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    internal required long DataOffset { get; init; }

    internal uint TimeStamp { get; init; }

    /// <summary>Four characters. Hyper-V's own, "win ", is what tells others that the size, and not the geometry, counts.</summary>
    internal string Creator { get; init; } = "win ";

    internal required long OriginalSize { get; init; }

    internal required long CurrentSize { get; init; }

    internal required VhdGeometry Geometry { get; init; }

    internal required VhdDiskType DiskType { get; init; }

    internal required Guid UniqueId { get; init; }

    internal byte SavedState { get; init; }

    /// <summary>The disk's size in bytes, as its creator meant it.</summary>
    /// <remarks>Virtual PC, Virtual Server and old qemu showed the guest the geometry's sectors, everyone since the size field.</remarks>
    internal long DiskSize => Creator is "vpc " or "vs  " or "qemu" && Geometry.Sectors > 0 && Geometry.Sectors < VhdGeometry.MaximumSectors
        ? Math.Min(Geometry.Sectors * 512, Math.Max(CurrentSize, 512) & -512)
        : CurrentSize & -512;

    private static ReadOnlySpan<byte> Cookie => "conectix"u8;

    internal static bool IsPresent(ReadOnlySpan<byte> source) => source.StartsWith(Cookie);

    internal static uint Now() => StampOf(TimeProvider.System.GetUtcNow());

    internal static uint StampOf(DateTimeOffset time) => (uint)Math.Max(0, (time - Epoch).TotalSeconds);

    internal static bool TryRead(ReadOnlySpan<byte> source, out VhdFooter footer, out string problem)
    {
        footer = null!;
        problem = "";
        if (source.Length < Size || !IsPresent(source))
        {
            problem = "the cookie \"conectix\" is missing";
            return false;
        }

        source = source[..Size];
        if (BinaryPrimitives.ReadUInt32BigEndian(source[ChecksumOffset..]) != Checksum(source, ChecksumOffset))
        {
            problem = "the checksum is wrong";
            return false;
        }

        var type = BinaryPrimitives.ReadUInt32BigEndian(source[60..]);
        footer = new VhdFooter
        {
            DataOffset = BinaryPrimitives.ReadInt64BigEndian(source[16..]),
            TimeStamp = BinaryPrimitives.ReadUInt32BigEndian(source[24..]),
            Creator = Encoding.Latin1.GetString(source[28..32]),
            OriginalSize = BinaryPrimitives.ReadInt64BigEndian(source[40..]),
            CurrentSize = BinaryPrimitives.ReadInt64BigEndian(source[48..]),
            Geometry = new VhdGeometry(BinaryPrimitives.ReadUInt16BigEndian(source[56..]), source[58], source[59]),
            DiskType = (VhdDiskType)type,
            UniqueId = new Guid(source[68..84], bigEndian: true),
            SavedState = source[84],
        };
        if (type is not (2 or 3 or 4))
        {
            problem = $"disk type {type} is unknown";
        }
        else if (footer.DiskSize <= 0 || footer.CurrentSize > VhdLayout.MaximumDiskSize)
        {
            problem = $"a size of {footer.CurrentSize} bytes is not allowed";
        }

        return problem.Length == 0;
    }

    /// <summary>The footer of a new disk.</summary>
    internal static VhdFooter For(long size, VhdDiskType type, Guid id) => new()
    {
        DataOffset = type == VhdDiskType.Fixed ? NoDataOffset : Size,
        TimeStamp = Now(),
        OriginalSize = size,
        CurrentSize = size,
        Geometry = VhdGeometry.For(size / 512),
        DiskType = type,
        UniqueId = id,
    };

    internal byte[] Build()
    {
        var target = new byte[Size];
        Cookie.CopyTo(target);
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(8), Reserved);
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(12), Version);
        BinaryPrimitives.WriteInt64BigEndian(target.AsSpan(16), DataOffset);
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(24), TimeStamp);
        _ = Encoding.Latin1.GetBytes(Creator.PadRight(4), target.AsSpan(28, 4));
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(32), 0x000A0000);
        "Wi2k"u8.CopyTo(target.AsSpan(36));
        BinaryPrimitives.WriteInt64BigEndian(target.AsSpan(40), OriginalSize);
        BinaryPrimitives.WriteInt64BigEndian(target.AsSpan(48), CurrentSize);
        BinaryPrimitives.WriteUInt16BigEndian(target.AsSpan(56), (ushort)Geometry.Cylinders);
        target[58] = (byte)Geometry.Heads;
        target[59] = (byte)Geometry.SectorsPerTrack;
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(60), (uint)DiskType);
        _ = UniqueId.TryWriteBytes(target.AsSpan(68), bigEndian: true, out _);
        target[84] = SavedState;
        BinaryPrimitives.WriteUInt32BigEndian(target.AsSpan(ChecksumOffset), Checksum(target, ChecksumOffset));
        return target;
    }

    /// <summary>The ones' complement of the sum of all bytes but the checksum's own.</summary>
    internal static uint Checksum(ReadOnlySpan<byte> source, int checksumOffset)
    {
        uint sum = 0;
        for (var i = 0; i < source.Length; i++)
        {
            sum += i >= checksumOffset && i < checksumOffset + 4 ? 0u : source[i];
        }

        return ~sum;
    }
}
