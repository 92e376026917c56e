using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vitro.VmBus.Protocol;

/// <summary>
/// The envelope of channel messages: an 8-byte header (type u32, padding u32) and a body, at most 240 bytes in all, in a
/// SynIC message of type 1.
/// </summary>
public static class ChannelMessage
{
    /// <summary>Bytes of the header.</summary>
    public const int HeaderSize = 8;

    /// <summary>Longest message in bytes.</summary>
    public const int MaximumSize = 240;

    /// <summary>The SynIC message type that carries channel messages.</summary>
    public const uint SynicMessageType = 1;

    /// <summary>Reads the type; false when the message has no whole header.</summary>
    public static bool TryReadType(ReadOnlySpan<byte> message, out ChannelMessageType type)
    {
        type = default;
        if (message.Length < HeaderSize)
        {
            return false;
        }

        type = (ChannelMessageType)BinaryPrimitives.ReadUInt32LittleEndian(message);
        return true;
    }

    /// <summary>Reads a body; false when the message is too short for it. Longer ones are accepted.</summary>
    public static bool TryReadBody<T>(ReadOnlySpan<byte> message, out T body)
        where T : unmanaged, IChannelMessageBody
    {
        body = default;
        return message.Length >= HeaderSize && MemoryMarshal.TryRead(message[HeaderSize..], out body);
    }

    /// <summary>Writes a message without a body and returns its size.</summary>
    public static int Write(Span<byte> destination, ChannelMessageType type)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)type);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], 0);
        return HeaderSize;
    }

    /// <summary>Writes a message and returns its size.</summary>
    public static int Write<T>(Span<byte> destination, in T body)
        where T : unmanaged, IChannelMessageBody
    {
        Write(destination, T.Type);
        MemoryMarshal.Write(destination[HeaderSize..], in body);
        return HeaderSize + Unsafe.SizeOf<T>();
    }
}

/// <summary>A body of fixed layout: little endian, packed, unknown values kept as they came.</summary>
public interface IChannelMessageBody
{
    /// <summary>The message type that carries it.</summary>
    static abstract ChannelMessageType Type { get; }
}
