using System.Buffers.Binary;

namespace Vitro.Storage.Vhdx;

/// <summary>One of a VHDX file's two headers; the valid one with the greater sequence number counts ([MS-VHDX] 2.2.2).</summary>
internal readonly record struct VhdxHeader(
    ulong SequenceNumber, Guid FileWriteGuid, Guid DataWriteGuid, Guid LogGuid, uint LogLength, ulong LogOffset)
{
    internal const int Size = 4096;

    private const uint Signature = 0x64616568; // "head"
    private const int ChecksumOffset = 4;
    private const ushort SupportedVersion = 1;

    // Our own bound: real logs have 1 MiB, and replaying holds the log in memory.
    private const uint MaximumLogLength = 256 << 20;

    /// <summary>Reads a header; on false, <paramref name="problem"/> says what is wrong.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> source, out VhdxHeader header, out string problem)
    {
        header = default;
        problem = "";
        if (source.Length < Size || BinaryPrimitives.ReadUInt32LittleEndian(source) != Signature)
        {
            problem = "the signature \"head\" is missing";
        }
        else if (!VhdxChecksum.Check(source[..Size], ChecksumOffset))
        {
            problem = "the checksum is wrong";
        }
        else if (BinaryPrimitives.ReadUInt16LittleEndian(source[66..]) is var version && version != SupportedVersion)
        {
            problem = $"version {version} is unknown";
        }
        else
        {
            header = new VhdxHeader(
                BinaryPrimitives.ReadUInt64LittleEndian(source[8..]),
                new Guid(source[16..32]),
                new Guid(source[32..48]),
                new Guid(source[48..64]),
                BinaryPrimitives.ReadUInt32LittleEndian(source[68..]),
                BinaryPrimitives.ReadUInt64LittleEndian(source[72..]));
            if (header.LogGuid != Guid.Empty && BinaryPrimitives.ReadUInt16LittleEndian(source[64..]) is var logVersion and not 0)
            {
                problem = $"log version {logVersion} is unknown";
            }
            else if (header.LogLength % VhdxLayout.Megabyte != 0 || header.LogOffset % VhdxLayout.Megabyte != 0
                || header.LogLength is 0 or > MaximumLogLength || header.LogOffset < VhdxLayout.Megabyte || header.LogOffset > long.MaxValue / 2)
            {
                problem = $"a log of {header.LogLength} bytes at offset {header.LogOffset} is not in whole megabytes, or too long";
            }
        }

        return problem.Length == 0;
    }

    internal void Write(Span<byte> target)
    {
        target = target[..Size];
        target.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(target, Signature);
        BinaryPrimitives.WriteUInt64LittleEndian(target[8..], SequenceNumber);
        _ = FileWriteGuid.TryWriteBytes(target[16..]);
        _ = DataWriteGuid.TryWriteBytes(target[32..]);
        _ = LogGuid.TryWriteBytes(target[48..]);
        BinaryPrimitives.WriteUInt16LittleEndian(target[66..], SupportedVersion);
        BinaryPrimitives.WriteUInt32LittleEndian(target[68..], LogLength);
        BinaryPrimitives.WriteUInt64LittleEndian(target[72..], LogOffset);
        VhdxChecksum.Set(target, ChecksumOffset);
    }
}
