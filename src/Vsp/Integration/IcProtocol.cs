using System.Buffers.Binary;

namespace Vitro.Vsp.Integration;

/// <summary>A version of the integration framework or of a service's messages.</summary>
/// <param name="Major">Major number.</param>
/// <param name="Minor">Minor number.</param>
public readonly record struct IcVersion(ushort Major, ushort Minor)
{
    /// <summary>As people write it.</summary>
    public override string ToString() => $"{Major}.{Minor}";

    internal static IcVersion Read(ReadOnlySpan<byte> bytes) =>
        new(BinaryPrimitives.ReadUInt16LittleEndian(bytes), BinaryPrimitives.ReadUInt16LittleEndian(bytes[2..]));

    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, Major);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[2..], Minor);
    }
}

/// <summary>Message types of the integration services; other values pass through.</summary>
internal enum IcMessageType : ushort
{
    Negotiate = 0,
    Heartbeat = 1,
    Shutdown = 3,
    TimeSync = 4,
}

/// <summary>Flags in a message's header.</summary>
[Flags]
internal enum IcFlags : byte
{
    Transaction = 1,
    Request = 2,
    Response = 4,
}

/// <summary>
/// The two headers before every integration message: the pipe's {flags u32 = 1, size u32} and the service's
/// {framework major u16 at 8, minor u16 at 10, type u16 at 12, message major u16 at 14, minor u16 at 16, body size u16 at
/// 18, status u32 at 20, transaction u8 at 24, flags u8 at 25, reserved u16} (Linux: <c>vmbuspipe_hdr</c>, <c>icmsg_hdr</c>).
/// </summary>
internal readonly record struct IcHeader(
    IcVersion Framework, IcMessageType Type, IcVersion Message, ushort BodySize, uint Status, byte Transaction, IcFlags Flags)
{
    internal const int Size = 28;
    private const int PipeHeader = 8;
    private const uint PipeData = 1;

    /// <summary>Reads the headers of a received payload; false when it is shorter than they are.</summary>
    internal static bool TryRead(ReadOnlySpan<byte> bytes, out IcHeader header)
    {
        if (bytes.Length < Size)
        {
            header = default;
            return false;
        }

        header = new IcHeader(
            IcVersion.Read(bytes[8..]),
            (IcMessageType)BinaryPrimitives.ReadUInt16LittleEndian(bytes[12..]),
            IcVersion.Read(bytes[14..]),
            BinaryPrimitives.ReadUInt16LittleEndian(bytes[18..]),
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[20..]),
            bytes[24],
            (IcFlags)bytes[25]);
        return true;
    }

    internal void Write(Span<byte> bytes)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, PipeData);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], (uint)(Size - PipeHeader + BodySize));
        Framework.Write(bytes[8..]);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[12..], (ushort)Type);
        Message.Write(bytes[14..]);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[18..], BodySize);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[20..], Status);
        bytes[24] = Transaction;
        bytes[25] = (byte)Flags;
        bytes[26] = 0;
        bytes[27] = 0;
    }
}

/// <summary>
/// Body of a negotiation: {framework count u16, message count u16, reserved u32, versions}. The host offers all it
/// has; the guest answers with one of each, or with none as a refusal (Linux: <c>icmsg_negotiate</c>).
/// </summary>
internal static class IcNegotiation
{
    private const int Versions = 8;

    internal static int SizeOf(int frameworks, int messages) => Versions + ((frameworks + messages) * 4);

    internal static void Write(Span<byte> body, ReadOnlySpan<IcVersion> frameworks, ReadOnlySpan<IcVersion> messages)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(body, (ushort)frameworks.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(body[2..], (ushort)messages.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(body[4..], 0);
        var rest = body[Versions..];
        foreach (var version in frameworks)
        {
            version.Write(rest);
            rest = rest[4..];
        }

        foreach (var version in messages)
        {
            version.Write(rest);
            rest = rest[4..];
        }
    }

    /// <summary>Reads a guest's answer; false when it chose nothing or is cut short.</summary>
    internal static bool TryReadChoice(ReadOnlySpan<byte> body, out IcVersion framework, out IcVersion message)
    {
        (framework, message) = (default, default);
        if (body.Length < SizeOf(1, 1) || BinaryPrimitives.ReadUInt16LittleEndian(body) != 1
            || BinaryPrimitives.ReadUInt16LittleEndian(body[2..]) != 1)
        {
            return false;
        }

        framework = IcVersion.Read(body[Versions..]);
        message = IcVersion.Read(body[(Versions + 4)..]);
        return true;
    }
}
