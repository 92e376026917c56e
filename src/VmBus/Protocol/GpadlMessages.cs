using System.Runtime.InteropServices;

namespace Vitro.VmBus.Protocol;

/// <summary>GPADL_HEADER up to the range buffer: 20 bytes; ranges {byte count u32, byte offset u32, page numbers u64[]} follow.</summary>
/// <param name="ChannelId">The relid.</param>
/// <param name="Handle">Chosen by the guest.</param>
/// <param name="RangeBufferLength">Bytes of the whole range buffer modulo 65,536: of no use for large lists.</param>
/// <param name="RangeCount">Number of ranges.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct GpadlHeader(uint ChannelId, uint Handle, ushort RangeBufferLength, ushort RangeCount) : IChannelMessageBody
{
    /// <summary>Offset of the range buffer in the message.</summary>
    public const int RangesOffset = 20;

    /// <summary>Page numbers that fit the message behind one range's byte count and offset.</summary>
    public const int MaximumPages = 26;

    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.GpadlHeader;
}

/// <summary>GPADL_BODY up to the range buffer's continuation: 16 bytes.</summary>
/// <param name="MessageNumber">Guests count or leave it 0; order is what matters.</param>
/// <param name="Handle">As in the header.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct GpadlBody(uint MessageNumber, uint Handle) : IChannelMessageBody
{
    /// <summary>Offset of the range buffer's continuation in the message.</summary>
    public const int RangesOffset = 16;

    /// <summary>Page numbers that fit the message.</summary>
    public const int MaximumPages = 28;

    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.GpadlBody;
}

/// <summary>GPADL_CREATED, 20 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
/// <param name="Handle">As asked.</param>
/// <param name="Status">0 when the list stands.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct GpadlCreated(uint ChannelId, uint Handle, uint Status) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.GpadlCreated;
}

/// <summary>GPADL_TEARDOWN, 16 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
/// <param name="Handle">Which list.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct GpadlTeardown(uint ChannelId, uint Handle) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.GpadlTeardown;
}

/// <summary>GPADL_TORNDOWN, 12 bytes.</summary>
/// <param name="Handle">Which list.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct GpadlTorndown(uint Handle) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.GpadlTorndown;
}
