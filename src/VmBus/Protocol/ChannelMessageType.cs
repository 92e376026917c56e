namespace Vitro.VmBus.Protocol;

/// <summary>Types of channel messages (include/linux/hyperv.h, enum vmbus_channel_message_type).</summary>
public enum ChannelMessageType : uint
{
    /// <summary>Host: a channel is offered.</summary>
    OfferChannel = 1,

    /// <summary>Host: an offer is taken back.</summary>
    RescindChannelOffer = 2,

    /// <summary>Guest: send me the offers.</summary>
    RequestOffers = 3,

    /// <summary>Host: that was the last offer for now.</summary>
    AllOffersDelivered = 4,

    /// <summary>Guest: open a channel.</summary>
    OpenChannel = 5,

    /// <summary>Host: outcome of an open.</summary>
    OpenChannelResult = 6,

    /// <summary>Guest: close a channel; not answered.</summary>
    CloseChannel = 7,

    /// <summary>Guest: start of a GPADL.</summary>
    GpadlHeader = 8,

    /// <summary>Guest: more pages of a GPADL.</summary>
    GpadlBody = 9,

    /// <summary>Host: outcome of a GPADL.</summary>
    GpadlCreated = 10,

    /// <summary>Guest: tear a GPADL down.</summary>
    GpadlTeardown = 11,

    /// <summary>Host: a GPADL is gone.</summary>
    GpadlTorndown = 12,

    /// <summary>Guest: done with a rescinded channel.</summary>
    RelIdReleased = 13,

    /// <summary>Guest: connect.</summary>
    InitiateContact = 14,

    /// <summary>Host: whether the version is accepted.</summary>
    VersionResponse = 15,

    /// <summary>Guest: disconnect.</summary>
    Unload = 16,

    /// <summary>Host: disconnected.</summary>
    UnloadResponse = 17,

    /// <summary>Guest: connect me to a hypervisor socket of the host.</summary>
    TlConnectRequest = 21,

    /// <summary>Guest: interrupt another processor for this channel.</summary>
    ModifyChannel = 22,

    /// <summary>Host: outcome of a socket connection.</summary>
    TlConnectResult = 23,

    /// <summary>Host: outcome of <see cref="ModifyChannel"/>, from version 5.3.</summary>
    ModifyChannelResponse = 24,
}
