using System.Buffers.Binary;

namespace Vitro.VmBus.Rings;

/// <summary>The writing end of a ring.</summary>
/// <remarks>
/// One thread at a time. Packets become visible with <see cref="Publish"/>; several written before one publication cost
/// at most one signal.
/// </remarks>
public sealed class RingWriter
{
    private const int DescriptorSize = 16;
    private const int TrailerSize = 8;

    private readonly RingMemory _ring;
    private uint _write;
    private uint _published;
    private bool _pendingSet;
    private bool _isSignalDue;
    private bool _broken;

    /// <summary>Starts at the index the ring holds.</summary>
    public RingWriter(RingMemory ring)
    {
        _ring = ring;
        _write = _published = ring.WriteIndex;
        _broken = !IsIndex(_write);
    }

    /// <summary>Packets written.</summary>
    public long PacketCount { get; private set; }

    /// <summary>Bytes written, descriptors and trailers included.</summary>
    public long ByteCount { get; private set; }

    /// <summary>Times the ring was found full.</summary>
    public long FullCount { get; private set; }

    /// <summary>Whether the reader broke the ring.</summary>
    public bool IsBroken => _broken;

    /// <summary>The longest payload an empty ring takes behind a plain descriptor.</summary>
    public int MaximumPayload => Math.Min(_ring.DataSize - TrailerSize - 8, (ushort.MaxValue * 8) & ~7) - DescriptorSize;

    /// <summary>
    /// Writes a packet. False when the ring is full, which makes visible what was written and asks the reader to signal when there is room, or
    /// broken. A payload over <see cref="MaximumPayload"/> never fits.
    /// </summary>
    /// <param name="extension">
    /// Bytes between descriptor and payload, a multiple of 8: the ranges of GPA-direct and transfer-page packets.
    /// </param>
    public bool TryWrite(
        VmBusPacketType type,
        VmBusPacketFlags flags,
        ulong transactionId,
        ReadOnlySpan<byte> payload,
        ReadOnlySpan<byte> extension = default)
    {
        var length = DescriptorSize + extension.Length + ((payload.Length + 7) & ~7);
        var size = (uint)length + TrailerSize;
        if (_broken || length > ushort.MaxValue * 8 || size + 8 > (uint)_ring.DataSize || !TryReserve(size))
        {
            return false;
        }

        Span<byte> descriptor = stackalloc byte[DescriptorSize];
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor, (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor[2..], (ushort)((DescriptorSize + extension.Length) / 8));
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor[4..], (ushort)(length / 8));
        BinaryPrimitives.WriteUInt16LittleEndian(descriptor[6..], (ushort)flags);
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor[8..], transactionId);
        var at = Append(_write, descriptor);
        at = Append(at, extension);
        at = Append(at, payload);

        // Padding is written too: whatever was in the ring before is nobody's business.
        Span<byte> tail = stackalloc byte[16];
        tail.Clear();
        var padding = -payload.Length & 7;
        BinaryPrimitives.WriteUInt32LittleEndian(tail[(padding + 4)..], _write);
        _write = Append(at, tail[..(padding + TrailerSize)]);
        PacketCount++;
        ByteCount += size;
        return true;
    }

    /// <summary>Makes what was written visible. True when the reader is to be signalled.</summary>
    public bool Publish()
    {
        var isDue = PublishWritten() || _isSignalDue;
        _isSignalDue = false;
        return isDue;
    }

    private bool PublishWritten()
    {
        if (_write == _published)
        {
            return false;
        }

        var old = _published;
        _published = _write;
        _ring.WriteIndex = _write;

        // The index must be out before the mask is read: the reader clears its mask and then looks at the index again.
        Interlocked.MemoryBarrier();
        return _ring.InterruptMask == 0 && _ring.ReadIndex == old;
    }

    private bool TryReserve(uint size)
    {
        if (!TryGetFree(out var free))
        {
            return false;
        }

        if (free > size)
        {
            ClearPending();
            return true;
        }

        // The reader tells that there is room when its own reckoning, by the index it sees, comes to that: it must see all that is written,
        // or it reaches the wished size before and says nothing.
        _isSignalDue |= PublishWritten();
        FullCount++;
        _pendingSet = true;
        _ring.PendingSendSize = size;

        // The wish must be out before the index is read: the reader moves its index and then looks for the wish.
        Interlocked.MemoryBarrier();
        if (TryGetFree(out free) && free > size)
        {
            ClearPending();
            return true;
        }

        return false;
    }

    private void ClearPending()
    {
        if (_pendingSet)
        {
            _pendingSet = false;
            _ring.PendingSendSize = 0;
        }
    }

    private bool TryGetFree(out uint free)
    {
        var read = _ring.ReadIndex;
        if (!IsIndex(read))
        {
            _broken = true;
            free = 0;
            return false;
        }

        free = read > _write ? read - _write : read + (uint)_ring.DataSize - _write;
        return true;
    }

    private uint Append(uint at, ReadOnlySpan<byte> bytes)
    {
        _ring.CopyIn(at, bytes);
        return _ring.Advance(at, (uint)bytes.Length);
    }

    private bool IsIndex(uint index) => index < (uint)_ring.DataSize && index % 8 == 0;
}
