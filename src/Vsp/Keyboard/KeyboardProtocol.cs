using System.Buffers.Binary;

namespace Vitro.Vsp.Keyboard;

/// <summary>Message types of the synthetic keyboard (u32 at the start of each packet).</summary>
internal enum KeyboardMessageType : uint
{
    ProtocolRequest = 1,
    ProtocolResponse = 2,
    Event = 3,
    LedIndicators = 4,
}

/// <summary>What a keystroke carries beside its code.</summary>
[Flags]
internal enum KeystrokeInfo : uint
{
    Unicode = 1,
    Break = 2,
    E0 = 4,
    E1 = 8,
}

/// <summary>
/// Keyboard messages: request {1, version u32}, response {2, status u32, bit 0 accepted}, keystroke {3, make code u16,
/// reserved u16, info u32}, indicators {4, LEDs u16} (Linux: hyperv-keyboard.c).
/// </summary>
internal static class KeyboardMessage
{
    internal const uint Version = 0x0001_0000;
    internal const int RequestSize = 8;
    internal const int ResponseSize = 8;
    internal const int KeystrokeSize = 12;

    internal static bool TryReadType(ReadOnlySpan<byte> bytes, out KeyboardMessageType type)
    {
        type = bytes.Length >= 4 ? (KeyboardMessageType)BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;
        return bytes.Length >= 4;
    }

    internal static bool TryReadRequest(ReadOnlySpan<byte> bytes, out uint version)
    {
        version = bytes.Length >= RequestSize ? BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) : 0;
        return bytes.Length >= RequestSize;
    }

    internal static bool TryReadIndicators(ReadOnlySpan<byte> bytes, out ushort leds)
    {
        leds = bytes.Length >= 6 ? BinaryPrimitives.ReadUInt16LittleEndian(bytes[4..]) : (ushort)0;
        return bytes.Length >= 6;
    }

    internal static void WriteResponse(Span<byte> bytes, bool accepted)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)KeyboardMessageType.ProtocolResponse);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], accepted ? 1u : 0);
    }

    internal static void WriteKeystroke(Span<byte> bytes, Keystroke keystroke)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)KeyboardMessageType.Event);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], keystroke.Key.Code);
        var info = (keystroke.IsRelease ? KeystrokeInfo.Break : 0) | (keystroke.Key.IsExtended ? KeystrokeInfo.E0 : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[8..], (uint)info);
    }
}
