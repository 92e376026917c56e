using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vitro.VmBus.Protocol;

/// <summary>The 120 bytes an offer or an open request carries for the driver or the service.</summary>
[InlineArray(Size)]
public struct UserDefinedData
{
    /// <summary>Bytes.</summary>
    public const int Size = 120;

    private byte _first;
}

/// <summary>OFFERCHANNEL, 196 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly struct OfferChannel : IChannelMessageBody
{
    private readonly Guid _interfaceType;
    private readonly Guid _instanceId;
    private readonly ulong _reserved1;
    private readonly ulong _reserved2;
    private readonly ushort _flags;
    private readonly ushort _mmioMegabytes;
    private readonly UserDefinedData _userDefined;
    private readonly ushort _subChannelIndex;
    private readonly ushort _reserved3;
    private readonly uint _channelId;
    private readonly byte _monitorId;
    private readonly byte _monitorAllocated;
    private readonly ushort _isDedicatedInterrupt;
    private readonly uint _connectionId;

    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.OfferChannel;

    /// <summary>Class of the service.</summary>
    public Guid InterfaceType { get => _interfaceType; init => _interfaceType = value; }

    /// <summary>Instance of the class.</summary>
    public Guid InstanceId { get => _instanceId; init => _instanceId = value; }

    /// <summary>Offer flags.</summary>
    public VmBusOfferFlags Flags { get => (VmBusOfferFlags)_flags; init => _flags = (ushort)value; }

    /// <summary>MMIO space the driver claims, in MiB.</summary>
    public ushort MmioMegabytes { get => _mmioMegabytes; init => _mmioMegabytes = value; }

    /// <summary>For the driver.</summary>
    public UserDefinedData UserDefined { get => _userDefined; init => _userDefined = value; }

    /// <summary>0 for a primary channel.</summary>
    public ushort SubChannelIndex { get => _subChannelIndex; init => _subChannelIndex = value; }

    /// <summary>The relid.</summary>
    public uint ChannelId { get => _channelId; init => _channelId = value; }

    /// <summary>Whether a monitor (latency-based signalling) is given; bit 0.</summary>
    public byte MonitorAllocated { get => _monitorAllocated; init => _monitorAllocated = value; }

    /// <summary>Whether signals go by event ports; bit 0. This host knows nothing else.</summary>
    public ushort IsDedicatedInterrupt { get => _isDedicatedInterrupt; init => _isDedicatedInterrupt = value; }

    /// <summary>Where the guest signals the channel.</summary>
    public uint ConnectionId { get => _connectionId; init => _connectionId = value; }
}

/// <summary>OPENCHANNEL, 148 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly struct OpenChannel : IChannelMessageBody
{
    private readonly uint _channelId;
    private readonly uint _openId;
    private readonly uint _ringGpadl;
    private readonly uint _targetVp;
    private readonly uint _downstreamPageOffset;
    private readonly UserDefinedData _userData;

    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.OpenChannel;

    /// <summary>The relid.</summary>
    public uint ChannelId { get => _channelId; init => _channelId = value; }

    /// <summary>Echoed in the result.</summary>
    public uint OpenId { get => _openId; init => _openId = value; }

    /// <summary>GPADL of both rings.</summary>
    public uint RingGpadl { get => _ringGpadl; init => _ringGpadl = value; }

    /// <summary>Processor that takes the channel's interrupts.</summary>
    public uint TargetVp { get => _targetVp; init => _targetVp = value; }

    /// <summary>Page of the GPADL at which the host-to-guest ring starts.</summary>
    public uint DownstreamPageOffset { get => _downstreamPageOffset; init => _downstreamPageOffset = value; }

    /// <summary>For the service.</summary>
    public UserDefinedData UserData { get => _userData; init => _userData = value; }
}

/// <summary>OPENCHANNEL_RESULT, 20 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
/// <param name="OpenId">As asked.</param>
/// <param name="Status">0 when open.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct OpenChannelResult(uint ChannelId, uint OpenId, uint Status) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.OpenChannelResult;
}

/// <summary>RESCIND_CHANNELOFFER, 12 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct RescindChannelOffer(uint ChannelId) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.RescindChannelOffer;
}

/// <summary>CLOSECHANNEL, 12 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct CloseChannel(uint ChannelId) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.CloseChannel;
}

/// <summary>RELID_RELEASED, 12 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct RelIdReleased(uint ChannelId) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.RelIdReleased;
}

/// <summary>MODIFYCHANNEL, 16 bytes.</summary>
/// <param name="ChannelId">The relid.</param>
/// <param name="TargetVp">Processor that takes the channel's interrupts from now on.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct ModifyChannel(uint ChannelId, uint TargetVp) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.ModifyChannel;
}

/// <summary>MODIFYCHANNEL_RESPONSE, 16 bytes; from version 5.3.</summary>
/// <param name="ChannelId">The relid.</param>
/// <param name="Status">0 when done.</param>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
public readonly record struct ModifyChannelResponse(uint ChannelId, uint Status) : IChannelMessageBody
{
    /// <inheritdoc/>
    public static ChannelMessageType Type => ChannelMessageType.ModifyChannelResponse;
}
