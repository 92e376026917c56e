using System.Buffers.Binary;

namespace Vitro.Vsp.Integration.Heartbeat;

/// <summary>Body of a heartbeat: {sequence u64, 32 reserved bytes}; the guest answers with the sequence plus one.</summary>
internal static class HeartbeatMessage
{
    internal const int Size = 40;

    internal static void Write(Span<byte> body, ulong sequence)
    {
        body[..Size].Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(body, sequence);
    }

    internal static bool TryRead(ReadOnlySpan<byte> body, out ulong sequence)
    {
        sequence = body.Length >= Size ? BinaryPrimitives.ReadUInt64LittleEndian(body) : 0;
        return body.Length >= Size;
    }
}
