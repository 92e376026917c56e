using System.Buffers.Binary;

namespace Vitro.VmBus.Host;

/// <summary>Packets that wait, in order, for room in a ring.</summary>
/// <remarks>Not thread-safe. Allocates only while it grows.</remarks>
internal sealed class PacketBacklog
{
    /// <summary>Bytes kept at most: far beyond what bounded requests in flight can fill.</summary>
    internal const int Limit = 8 << 20;

    private const int HeaderSize = 16;
    private byte[] _bytes = [];
    private int _head;
    private int _tail;

    internal bool IsEmpty => _head == _tail;

    internal int Count { get; private set; }

    internal ReadOnlySpan<byte> Pending => _bytes.AsSpan(_head, _tail - _head);

    /// <summary>Adds a packet; false when the limit is reached.</summary>
    internal bool TryAdd(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload)
    {
        var size = HeaderSize + payload.Length;
        if (_tail - _head + size > Limit)
        {
            return false;
        }

        MakeRoom(size);
        var span = _bytes.AsSpan(_tail);
        BinaryPrimitives.WriteUInt16LittleEndian(span, (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(span[2..], (ushort)flags);
        BinaryPrimitives.WriteInt32LittleEndian(span[4..], payload.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(span[8..], transactionId);
        payload.CopyTo(span[HeaderSize..]);
        _tail += size;
        Count++;
        return true;
    }

    /// <summary>Looks at the oldest packet.</summary>
    internal void Peek(out VmBusPacketType type, out VmBusPacketFlags flags, out ulong transactionId, out ReadOnlySpan<byte> payload)
    {
        var span = _bytes.AsSpan(_head, _tail - _head);
        type = (VmBusPacketType)BinaryPrimitives.ReadUInt16LittleEndian(span);
        flags = (VmBusPacketFlags)BinaryPrimitives.ReadUInt16LittleEndian(span[2..]);
        transactionId = BinaryPrimitives.ReadUInt64LittleEndian(span[8..]);
        payload = span.Slice(HeaderSize, BinaryPrimitives.ReadInt32LittleEndian(span[4..]));
    }

    /// <summary>Drops the oldest packet.</summary>
    internal void Remove()
    {
        _head += HeaderSize + BinaryPrimitives.ReadInt32LittleEndian(_bytes.AsSpan(_head + 4));
        Count--;
        if (_head == _tail)
        {
            _head = _tail = 0;
        }
    }

    /// <summary>Takes what <see cref="Pending"/> gave; false when it is damaged.</summary>
    internal bool TryRestore(ReadOnlySpan<byte> bytes)
    {
        _bytes = bytes.ToArray();
        _head = 0;
        _tail = bytes.Length;
        Count = 0;
        for (var at = 0; at < bytes.Length; Count++)
        {
            var length = bytes.Length - at >= HeaderSize ? BinaryPrimitives.ReadInt32LittleEndian(bytes[(at + 4)..]) : -1;
            if (length < 0 || length > bytes.Length - at - HeaderSize)
            {
                _head = _tail = Count = 0;
                return false;
            }

            at += HeaderSize + length;
        }

        return true;
    }

    private void MakeRoom(int size)
    {
        if (_bytes.Length - _tail >= size)
        {
            return;
        }

        var used = _tail - _head;
        var target = used + size <= _bytes.Length ? _bytes : new byte[Math.Max(4096, (used + size) * 2)];
        _bytes.AsSpan(_head, used).CopyTo(target);
        _bytes = target;
        _head = 0;
        _tail = used;
    }
}
