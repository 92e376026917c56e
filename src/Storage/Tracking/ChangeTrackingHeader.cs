using System.Buffers.Binary;
using Vitro.Storage.Files;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage.Tracking;

/// <summary>The file beside a disk that remembers which of its parts changed since a named point.</summary>
/// <remarks>
/// A header of 4 KiB, then a bit a granule. A bit is set and durable before the granule's first change begins, so a crash can leave
/// "changed" for what did not change, never the contrary. A header that is damaged, or that does not belong to the file's write
/// identity, makes everything count as changed.
/// </remarks>
internal readonly record struct ChangeTrackingHeader(Guid PointId, Guid WriteIdentity, long DiskLength, int Granule, bool IsClosed)
{
    internal const int Size = 4096;

    private const ulong Signature = 0x314B_5254_4F52_5456; // "VTROTRK1"
    private const int ChecksumOffset = 8;

    internal long Bits => (DiskLength + Granule - 1) / Granule;

    internal static bool TryRead(ReadOnlySpan<byte> source, out ChangeTrackingHeader header)
    {
        header = default;
        if (source.Length < Size || BinaryPrimitives.ReadUInt64LittleEndian(source) != Signature
            || !VhdxChecksum.Check(source[..Size], ChecksumOffset))
        {
            return false;
        }

        header = new ChangeTrackingHeader(
            new Guid(source[16..32]),
            new Guid(source[32..48]),
            BinaryPrimitives.ReadInt64LittleEndian(source[48..]),
            BinaryPrimitives.ReadInt32LittleEndian(source[56..]),
            source[60] != 0);
        return header.DiskLength > 0 && header.Granule is >= 4096 and <= (64 << 20) && int.IsPow2(header.Granule) && header.Bits / 8 < int.MaxValue;
    }

    internal void Write(IDiskFile file)
    {
        var target = new byte[Size];
        BinaryPrimitives.WriteUInt64LittleEndian(target, Signature);
        _ = PointId.TryWriteBytes(target.AsSpan(16));
        _ = WriteIdentity.TryWriteBytes(target.AsSpan(32));
        BinaryPrimitives.WriteInt64LittleEndian(target.AsSpan(48), DiskLength);
        BinaryPrimitives.WriteInt32LittleEndian(target.AsSpan(56), Granule);
        target[60] = IsClosed ? (byte)1 : (byte)0;
        VhdxChecksum.Set(target, ChecksumOffset);
        file.Write(0, target);
    }
}
