using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <summary>Where a channel stands between host and guest.</summary>
public enum ChannelState
{
    /// <summary>Offered or about to be; no rings.</summary>
    Closed,

    /// <summary>Rings are shared and the service runs.</summary>
    Open,

    /// <summary>The service has been told to let go and has not answered yet.</summary>
    Closing,
}

/// <summary>A channel as the connection keeps it: identity, state, and what waits for its service to let go.</summary>
/// <remarks>Changed only by <see cref="VmBusConnection"/>.</remarks>
public sealed class OfferedChannel
{
    internal OfferedChannel(VmBusOffer offer, uint channelId, ushort subChannelIndex, OfferedChannel? parent, object? owner)
    {
        Offer = offer;
        ChannelId = channelId;
        SubChannelIndex = subChannelIndex;
        Parent = parent;
        Owner = owner;
    }

    /// <summary>What was offered.</summary>
    public VmBusOffer Offer { get; }

    /// <summary>The relid.</summary>
    public uint ChannelId { get; }

    /// <summary>Where the guest signals the channel.</summary>
    public uint ConnectionId => VmBusConnection.FirstChannelConnectionId + ChannelId;

    /// <summary>0 for a primary channel.</summary>
    public ushort SubChannelIndex { get; }

    /// <summary>The primary channel of a sub-channel.</summary>
    public OfferedChannel? Parent { get; }

    /// <summary>Where the channel stands.</summary>
    public ChannelState State { get; internal set; }

    /// <summary>The guest has been told of the channel.</summary>
    public bool IsAnnounced { get; internal set; }

    /// <summary>The offer was taken back; the guest has yet to release the relid.</summary>
    public bool IsRescinded { get; internal set; }

    /// <summary>The guest has released the relid while the service was still closing.</summary>
    internal bool IsReleased { get; set; }

    /// <summary>The guest's open request, while open.</summary>
    public OpenChannel OpenRequest { get; internal set; }

    /// <summary>The processor that takes the channel's interrupts.</summary>
    public uint TargetVp { get; internal set; }

    /// <summary>Whatever the connection's owner keeps with the offer.</summary>
    public object? Owner { get; }

    /// <summary>GPADLs to tear down once the service has let go.</summary>
    internal List<uint> PendingTeardowns { get; } = [];

    /// <summary>An open request that came while the service was closing.</summary>
    internal OpenChannel? PendingOpen { get; set; }
}
