using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vitro.VmBus;

/// <summary>A packet taken off a ring: the host's own copy, its structure already checked.</summary>
/// <remarks>Spans point into the channel's buffer and last until the next receive.</remarks>
public readonly ref struct VmBusPacket
{
    internal VmBusPacket(
        VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload, GpaRangeList ranges)
    {
        Type = type;
        Flags = flags;
        TransactionId = transactionId;
        Payload = payload;
        Ranges = ranges;
    }

    /// <summary>The packet type; values outside the enumeration are passed on.</summary>
    public VmBusPacketType Type { get; }

    /// <summary>Descriptor flags as sent.</summary>
    public VmBusPacketFlags Flags { get; }

    /// <summary>Whether the sender waits for a completion with the same transaction id.</summary>
    public bool CompletionRequested => (Flags & VmBusPacketFlags.CompletionRequested) != 0;

    /// <summary>Chosen by the sender, echoed in the completion.</summary>
    public ulong TransactionId { get; }

    /// <summary>The bytes between descriptor and payload: the header of typed packets (ranges, transfer pages) as sent.</summary>
    public ReadOnlySpan<byte> Extension { get; internal init; }

    /// <summary>The bytes behind descriptor and ranges, padding to 8 bytes included.</summary>
    public ReadOnlySpan<byte> Payload { get; }

    /// <summary>Guest memory ranges of a <see cref="VmBusPacketType.GpaDirect"/> packet; empty for others.</summary>
    public GpaRangeList Ranges { get; }
}

/// <summary>Packet types on a ring.</summary>
public enum VmBusPacketType : ushort
{
    /// <summary>Data is in the packet.</summary>
    InBand = 6,

    /// <summary>Data is in ranges of a page set shared before.</summary>
    TransferPages = 7,

    /// <summary>Data is in a GPADL.</summary>
    Gpadl = 8,

    /// <summary>Data is in guest pages listed in the packet.</summary>
    GpaDirect = 9,

    /// <summary>Answer to a request.</summary>
    Completion = 11,
}

/// <summary>Descriptor flags.</summary>
[Flags]
public enum VmBusPacketFlags : ushort
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>The sender wants a completion.</summary>
    CompletionRequested = 1,
}

/// <summary>The ranges of a GPA-direct packet: each a byte count, an offset into its first page, and the page numbers.</summary>
public readonly ref struct GpaRangeList
{
    private readonly ReadOnlySpan<byte> _bytes;

    private GpaRangeList(ReadOnlySpan<byte> bytes, int count)
    {
        _bytes = bytes;
        Count = count;
    }

    /// <summary>Number of ranges.</summary>
    public int Count { get; }

    /// <summary>
    /// Checks <paramref name="count"/> ranges laid out one after the other in <paramref name="bytes"/>: each must hold at
    /// least one byte and as many pages as its bytes take.
    /// </summary>
    public static bool TryParse(ReadOnlySpan<byte> bytes, uint count, out GpaRangeList ranges)
    {
        ranges = default;
        var rest = bytes;
        for (var i = 0u; i < count; i++)
        {
            if (!TryParseRange(rest, out _, out var size))
            {
                return false;
            }

            rest = rest[size..];
        }

        ranges = new GpaRangeList(bytes, (int)count);
        return true;
    }

    /// <summary>Enumerates the ranges in order.</summary>
    public Enumerator GetEnumerator() => new(_bytes, Count);

    private static bool TryParseRange(ReadOnlySpan<byte> bytes, out GpaRange range, out int size)
    {
        range = default;
        size = 0;
        if (bytes.Length < 8)
        {
            return false;
        }

        var byteCount = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        var offset = BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        var pages = ((ulong)byteCount + offset + 4095) / 4096;
        if (byteCount == 0 || offset >= 4096 || pages > (ulong)(bytes.Length - 8) / 8)
        {
            return false;
        }

        size = 8 + ((int)pages * 8);
        range = new GpaRange(byteCount, offset, MemoryMarshal.Cast<byte, ulong>(bytes[8..size]));
        return true;
    }

    /// <summary>Walks the list.</summary>
    public ref struct Enumerator
    {
        private ReadOnlySpan<byte> _rest;
        private int _left;

        internal Enumerator(ReadOnlySpan<byte> bytes, int count)
        {
            _rest = bytes;
            _left = count;
        }

        /// <summary>The range last moved to.</summary>
        public GpaRange Current { get; private set; }

        /// <summary>Moves on.</summary>
        public bool MoveNext()
        {
            if (_left == 0 || !TryParseRange(_rest, out var range, out var size))
            {
                return false;
            }

            Current = range;
            _rest = _rest[size..];
            _left--;
            return true;
        }
    }
}

/// <summary>A range of guest memory scattered over whole pages.</summary>
public readonly ref struct GpaRange
{
    internal GpaRange(uint byteCount, uint byteOffset, ReadOnlySpan<ulong> pageNumbers)
    {
        ByteCount = byteCount;
        ByteOffset = byteOffset;
        PageNumbers = pageNumbers;
    }

    /// <summary>Bytes in the range, at least 1.</summary>
    public uint ByteCount { get; }

    /// <summary>Where the range starts in its first page, below 4096.</summary>
    public uint ByteOffset { get; }

    /// <summary>4 KiB page numbers, as many as the bytes take. Not checked against the guest's memory map.</summary>
    public ReadOnlySpan<ulong> PageNumbers { get; }
}
