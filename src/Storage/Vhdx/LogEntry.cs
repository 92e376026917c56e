using System.Buffers.Binary;

namespace Vitro.Storage.Vhdx;

/// <summary>A page of the file that a log entry replaces.</summary>
internal readonly record struct LogPage(long FileOffset, ReadOnlyMemory<byte> Content);

/// <summary>A log entry: pages to be written, whole or not at all ([MS-VHDX] 2.3.1).</summary>
internal sealed class LogEntry
{
    internal const int SectorSize = 4096;

    private const uint Signature = 0x65676F6C; // "loge"
    private const uint DataDescriptor = 0x63736564; // "desc"
    private const uint ZeroDescriptor = 0x6F72657A; // "zero"
    private const uint DataSector = 0x61746164; // "data"
    private const int ChecksumOffset = 4;
    private const int HeaderSize = 64;
    private const int DescriptorSize = 32;
    private const int LeadingBytes = 8;
    private const int TrailingBytes = 4;

    internal uint Tail { get; private init; }

    internal ulong SequenceNumber { get; private init; }

    internal int Length { get; private init; }

    /// <summary>The file was at least so long, durably, when the entry was written.</summary>
    internal ulong FlushedFileOffset { get; private init; }

    /// <summary>The file is at least so long when the entry has been applied.</summary>
    internal ulong LastFileOffset { get; private init; }

    internal IReadOnlyList<LogPage> Pages { get; private init; } = [];

    internal IReadOnlyList<(long Offset, long Length)> ZeroRanges { get; private init; } = [];

    /// <summary>Bytes an entry of that many pages takes in the log.</summary>
    internal static int SizeOf(int pages) => DescriptorArea(pages) + (pages * SectorSize);

    internal static void Write(
        Span<byte> target, IReadOnlyList<LogPage> pages, uint tail, ulong sequenceNumber, Guid logGuid, ulong fileLength)
    {
        var length = SizeOf(pages.Count);
        target = target[..length];
        target.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(target, Signature);
        BinaryPrimitives.WriteInt32LittleEndian(target[8..], length);
        BinaryPrimitives.WriteUInt32LittleEndian(target[12..], tail);
        BinaryPrimitives.WriteUInt64LittleEndian(target[16..], sequenceNumber);
        BinaryPrimitives.WriteInt32LittleEndian(target[24..], pages.Count);
        _ = logGuid.TryWriteBytes(target[32..]);
        BinaryPrimitives.WriteUInt64LittleEndian(target[48..], fileLength);
        BinaryPrimitives.WriteUInt64LittleEndian(target[56..], fileLength);
        var sector = target[DescriptorArea(pages.Count)..];
        for (var i = 0; i < pages.Count; i++)
        {
            var content = pages[i].Content.Span;
            var descriptor = target[(HeaderSize + (i * DescriptorSize))..];
            BinaryPrimitives.WriteUInt32LittleEndian(descriptor, DataDescriptor);
            content[^TrailingBytes..].CopyTo(descriptor[4..]);
            content[..LeadingBytes].CopyTo(descriptor[8..]);
            BinaryPrimitives.WriteInt64LittleEndian(descriptor[16..], pages[i].FileOffset);
            BinaryPrimitives.WriteUInt64LittleEndian(descriptor[24..], sequenceNumber);
            BinaryPrimitives.WriteUInt32LittleEndian(sector, DataSector);
            BinaryPrimitives.WriteUInt32LittleEndian(sector[4..], (uint)(sequenceNumber >> 32));
            content[LeadingBytes..^TrailingBytes].CopyTo(sector[8..]);
            BinaryPrimitives.WriteUInt32LittleEndian(sector[(SectorSize - 4)..], (uint)sequenceNumber);
            sector = sector[SectorSize..];
        }

        VhdxChecksum.Set(target, ChecksumOffset);
    }

    /// <summary>Reads the length an entry claims, when its start looks like one; checks nothing else.</summary>
    internal static bool TryReadLength(ReadOnlySpan<byte> firstSector, Guid logGuid, uint logLength, out int length)
    {
        length = 0;
        if (BinaryPrimitives.ReadUInt32LittleEndian(firstSector) != Signature || new Guid(firstSector[32..48]) != logGuid)
        {
            return false;
        }

        length = BinaryPrimitives.ReadInt32LittleEndian(firstSector[8..]);
        return length >= SectorSize && length % SectorSize == 0 && length <= logLength;
    }

    /// <summary>Reads a whole entry; false when it is not one, which in a log is ordinary.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> source, Guid logGuid, uint logLength, out LogEntry entry)
    {
        entry = new LogEntry();
        if (!TryReadLength(source, logGuid, logLength, out var length) || length != source.Length || !VhdxChecksum.Check(source, ChecksumOffset))
        {
            return false;
        }

        var sequence = BinaryPrimitives.ReadUInt64LittleEndian(source[16..]);
        var count = BinaryPrimitives.ReadUInt32LittleEndian(source[24..]);
        var tail = BinaryPrimitives.ReadUInt32LittleEndian(source[12..]);
        if (sequence == 0 || tail % SectorSize != 0 || tail >= logLength || count > (uint)(length - HeaderSize) / DescriptorSize)
        {
            return false;
        }

        var pages = new List<LogPage>();
        var zeroes = new List<(long, long)>();
        var next = DescriptorArea((int)count);
        for (var i = 0; i < count; i++)
        {
            var descriptor = source.Slice(HeaderSize + (i * DescriptorSize), DescriptorSize);
            var fileOffset = BinaryPrimitives.ReadInt64LittleEndian(descriptor[16..]);
            if (BinaryPrimitives.ReadUInt64LittleEndian(descriptor[24..]) != sequence || fileOffset < 0 || fileOffset % SectorSize != 0)
            {
                return false;
            }

            switch (BinaryPrimitives.ReadUInt32LittleEndian(descriptor))
            {
                case ZeroDescriptor:
                    var zeroLength = BinaryPrimitives.ReadInt64LittleEndian(descriptor[8..]);
                    if (zeroLength < 0 || zeroLength % SectorSize != 0 || zeroLength > long.MaxValue - fileOffset)
                    {
                        return false;
                    }

                    zeroes.Add((fileOffset, zeroLength));
                    break;
                case DataDescriptor when next <= length - SectorSize:
                    var sector = source.Slice(next, SectorSize);
                    if (BinaryPrimitives.ReadUInt32LittleEndian(sector) != DataSector
                        || BinaryPrimitives.ReadUInt32LittleEndian(sector[4..]) != (uint)(sequence >> 32)
                        || BinaryPrimitives.ReadUInt32LittleEndian(sector[(SectorSize - 4)..]) != (uint)sequence)
                    {
                        return false;
                    }

                    var content = sector.ToArray();
                    descriptor[8..16].CopyTo(content);
                    descriptor[4..8].CopyTo(content.AsSpan(SectorSize - TrailingBytes));
                    pages.Add(new LogPage(fileOffset, content));
                    next += SectorSize;
                    break;
                default:
                    return false;
            }
        }

        entry = new LogEntry
        {
            Tail = tail,
            SequenceNumber = sequence,
            Length = length,
            FlushedFileOffset = BinaryPrimitives.ReadUInt64LittleEndian(source[48..]),
            LastFileOffset = BinaryPrimitives.ReadUInt64LittleEndian(source[56..]),
            Pages = pages,
            ZeroRanges = zeroes,
        };
        return true;
    }

    private static int DescriptorArea(int descriptors) =>
        (HeaderSize + (descriptors * DescriptorSize) + SectorSize - 1) / SectorSize * SectorSize;
}
