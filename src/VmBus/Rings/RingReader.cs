using System.Buffers.Binary;

namespace Vitro.VmBus.Rings;

/// <summary>How taking a packet ended.</summary>
public enum RingReadResult
{
    /// <summary>A packet was taken.</summary>
    Packet,

    /// <summary>The ring is empty, and the writer will signal when it no longer is.</summary>
    Empty,

    /// <summary>The writer broke the ring; nothing can be read from it any more.</summary>
    Broken,
}

/// <summary>
/// The reading end of a ring. Every packet is copied once and checked in the copy; indexes are trusted only as far as
/// they have been checked.
/// </summary>
/// <remarks>
/// One thread at a time. Signals are masked from the first packet until the ring is found empty; then the mask is
/// cleared and the ring looked at again, since the writer may have seen the mask just before. No allocation per packet
/// once the buffer has grown to the largest packet.
/// </remarks>
public sealed class RingReader
{
    private const int DescriptorSize = 16;
    private const int TrailerSize = 8;
    private const int InitialBuffer = 4096;

    private readonly RingMemory _ring;
    private byte[] _buffer = new byte[InitialBuffer];
    private uint _read;
    private bool _masked;
    private bool _broken;

    /// <summary>Starts at the index the ring holds.</summary>
    public RingReader(RingMemory ring)
    {
        _ring = ring;
        _read = ring.ReadIndex;
        _broken = !IsIndex(_read);
    }

    /// <summary>Packets taken.</summary>
    public long PacketCount { get; private set; }

    /// <summary>Bytes taken, descriptors and trailers included.</summary>
    public long ByteCount { get; private set; }

    /// <summary>Whether the writer broke the ring.</summary>
    public bool IsBroken => _broken;

    /// <summary>
    /// Takes the next packet. <paramref name="writerWaits"/> says that this made the room the writer waits for: signal
    /// it, whatever its interrupt mask.
    /// </summary>
    public RingReadResult TryRead(out VmBusPacket packet, out bool writerWaits)
    {
        packet = default;
        writerWaits = false;
        if (_broken)
        {
            return RingReadResult.Broken;
        }

        var write = _ring.WriteIndex;
        if (write == _read)
        {
            if (_masked)
            {
                _masked = false;
                _ring.InterruptMask = 0;
                Interlocked.MemoryBarrier();
                write = _ring.WriteIndex;
            }

            if (write == _read)
            {
                return RingReadResult.Empty;
            }
        }

        if (!_masked)
        {
            _masked = true;
            _ring.InterruptMask = 1;
        }

        if (!IsIndex(write) || !TryCopyPacket(Distance(write), out packet, out var size))
        {
            _broken = true;
            return RingReadResult.Broken;
        }

        writerWaits = Consume(size);
        PacketCount++;
        ByteCount += size;
        return RingReadResult.Packet;
    }

    private bool TryCopyPacket(uint available, out VmBusPacket packet, out uint size)
    {
        packet = default;
        size = 0;
        if (available < DescriptorSize + TrailerSize)
        {
            return false;
        }

        Span<byte> descriptor = stackalloc byte[DescriptorSize];
        _ring.CopyOut(_read, descriptor);
        var dataOffset = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[2..]) * 8;
        var length = BinaryPrimitives.ReadUInt16LittleEndian(descriptor[4..]) * 8;
        if (dataOffset < DescriptorSize || dataOffset > length || (uint)length + TrailerSize > available)
        {
            return false;
        }

        if (_buffer.Length < length)
        {
            _buffer = GC.AllocateUninitializedArray<byte>(Math.Min(_ring.DataSize, Math.Max(length, _buffer.Length * 2)));
        }

        var bytes = _buffer.AsSpan(0, length);
        descriptor.CopyTo(bytes);
        _ring.CopyOut(_ring.Advance(_read, DescriptorSize), bytes[DescriptorSize..]);
        size = (uint)length + TrailerSize;
        return TryParse(bytes, dataOffset, out packet);
    }

    private static bool TryParse(ReadOnlySpan<byte> bytes, int dataOffset, out VmBusPacket packet)
    {
        packet = default;
        var type = (VmBusPacketType)BinaryPrimitives.ReadUInt16LittleEndian(bytes);
        GpaRangeList ranges = default;
        if (type == VmBusPacketType.GpaDirect
            && (dataOffset < 24 || !GpaRangeList.TryParse(bytes[24..dataOffset], BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]), out ranges)))
        {
            return false;
        }

        packet = new VmBusPacket(
            type,
            (VmBusPacketFlags)BinaryPrimitives.ReadUInt16LittleEndian(bytes[6..]),
            BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]),
            bytes[dataOffset..],
            ranges)
        {
            Extension = bytes[DescriptorSize..dataOffset],
        };
        return true;
    }

    private bool Consume(uint size)
    {
        _read = _ring.Advance(_read, size);
        _ring.ReadIndex = _read;

        // The index must be out before the wish is read: the writer sets its wish and then looks at the index again.
        Interlocked.MemoryBarrier();
        var pending = _ring.PendingSendSize;
        if (pending == 0)
        {
            return false;
        }

        // The writer may have filled the ring since this packet was found, so its index is read anew.
        var write = _ring.WriteIndex;
        if (!IsIndex(write))
        {
            return false;
        }

        var free = (uint)_ring.DataSize - Distance(write);
        return free > pending && free - size <= pending;
    }

    private uint Distance(uint write) => write >= _read ? write - _read : write + (uint)_ring.DataSize - _read;

    private bool IsIndex(uint index) => index < (uint)_ring.DataSize && index % 8 == 0;
}
