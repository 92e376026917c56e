using System.Buffers.Binary;

namespace Vitro.Vsp.Integration.TimeSync;

/// <summary>What the guest does with a time.</summary>
[Flags]
internal enum TimeSyncFlags : byte
{
    /// <summary>Sets its clock.</summary>
    Sync = 1,

    /// <summary>Takes it as one measurement.</summary>
    Sample = 2,
}

/// <summary>
/// Bodies of a time message. Version 4: {parent time u64, reference time u64 at its capture, flags u8, leap u8, stratum
/// u8, 3 reserved}; before: {parent time u64, child time u64, round trip u64, flags u8}. Parent time counts 100 ns since 1601.
/// </summary>
internal static class TimeSyncMessage
{
    internal const int Size4 = 22;
    internal const int Size1 = 25;

    internal static void Write4(Span<byte> body, DateTimeOffset time, ulong referenceTime, TimeSyncFlags flags)
    {
        body[..Size4].Clear();
        BinaryPrimitives.WriteInt64LittleEndian(body, time.ToFileTime());
        BinaryPrimitives.WriteUInt64LittleEndian(body[8..], referenceTime);
        body[16] = (byte)flags;
    }

    internal static void Write1(Span<byte> body, DateTimeOffset time, TimeSyncFlags flags)
    {
        body[..Size1].Clear();
        BinaryPrimitives.WriteInt64LittleEndian(body, time.ToFileTime());
        body[24] = (byte)flags;
    }
}
