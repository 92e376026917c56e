using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>A message on its way to a slot of the guest's message page (TLFS, "SynIC Message Format").</summary>
/// <remarks>
/// Slot of 256 bytes: type u32 at 0, payload size u8 at 4, flags u8 at 5, sender u64 at 8, payload at 16.
/// </remarks>
internal struct SynicMessage
{
    internal const int SlotSize = 256;
    internal const int SizeOffset = 4;
    internal const int SenderOffset = 8;
    internal const int PayloadOffset = 16;

    /// <summary>"Message pending" in the 32-bit word at <see cref="SizeOffset"/>: the guest owes an end-of-message.</summary>
    internal const uint PendingFlag = 1 << 8;

    /// <summary>Type of a synthetic timer's message.</summary>
    internal const uint TimerExpired = 0x8000_0010;

    internal uint Type;
    internal byte Size;
    internal ulong Sender;
    private PayloadBytes _payload;

    internal SynicMessage(uint type, ulong sender, ReadOnlySpan<byte> payload)
    {
        Type = type;
        Sender = sender;
        Size = (byte)payload.Length;
        payload.CopyTo(_payload);
    }

    [UnscopedRef]
    internal readonly ReadOnlySpan<byte> Payload => ((ReadOnlySpan<byte>)_payload)[..Size];

    /// <summary>The message of timer <paramref name="index"/>; times in 100 ns of reference time.</summary>
    internal static SynicMessage ForTimer(int index, ulong expiration, ulong delivery)
    {
        Span<byte> payload = stackalloc byte[24];
        payload.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(payload, index);
        BinaryPrimitives.WriteUInt64LittleEndian(payload[8..], expiration);
        BinaryPrimitives.WriteUInt64LittleEndian(payload[16..], delivery);
        return new SynicMessage(TimerExpired, 0, payload);
    }

    [InlineArray(ISynicPorts.MaxPayload)]
    private struct PayloadBytes
    {
        private byte _first;
    }
}
