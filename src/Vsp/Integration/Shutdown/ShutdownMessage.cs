using System.Buffers.Binary;
using System.Text;

namespace Vitro.Vsp.Integration.Shutdown;

/// <summary>
/// Body of a shutdown request: {reason u32, timeout u32 in seconds, flags u32, message 2048 bytes}. Linux refuses shorter ones.
/// </summary>
internal static class ShutdownMessage
{
    internal const int Size = 2060;
    internal const int TextOffset = 12;
    internal const int TextSize = 2048;

    // SHTDN_REASON_FLAG_PLANNED: guests that log reasons show an intended shutdown.
    private const uint Planned = 0x8000_0000;

    internal static void Write(Span<byte> body, ShutdownKind kind, bool force, uint timeoutSeconds, string text)
    {
        body[..Size].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(body, Planned);
        BinaryPrimitives.WriteUInt32LittleEndian(body[4..], timeoutSeconds);
        BinaryPrimitives.WriteUInt32LittleEndian(body[8..], ((uint)kind * 2) | (force ? 1u : 0));

        // UTF-16 with a terminator: what is too long for the field is cut between characters.
        var characters = Math.Min(text.Length, (TextSize / 2) - 1);
        Encoding.Unicode.GetBytes(text.AsSpan(0, characters), body[TextOffset..]);
    }
}
