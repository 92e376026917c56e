using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <summary>What a <see cref="VmBusConnection"/> asks its owner to do, in the order of the calls.</summary>
/// <remarks>Called in the middle of a transition: implementations do not call back into the connection.</remarks>
public interface IConnectionActions
{
    /// <summary>Sends a message to <see cref="VmBusConnection.MessageTargetVp"/> and <see cref="VmBusConnection.MessageTargetSint"/>.</summary>
    void Send(ReadOnlySpan<byte> message);

    /// <summary>Drops messages queued for the guest: it has disconnected and would take them for others.</summary>
    void DiscardMessages();

    /// <summary>A channel exists: make its signal port. Comes before the guest hears of it.</summary>
    void OnAdded(OfferedChannel channel);

    /// <summary>A channel is gone and its number free.</summary>
    void OnRemoved(OfferedChannel channel);

    /// <summary>Maps the rings of a channel and makes ready to serve it; false refuses the open request.</summary>
    bool TryOpen(OfferedChannel channel, Gpadl rings, in OpenChannel request);

    /// <summary>The guest has been told that the channel is open: let the service run.</summary>
    void Start(OfferedChannel channel);

    /// <summary>Stops serving a channel; to be answered with <see cref="VmBusConnection.OnChannelClosed"/> in a later call.</summary>
    void Close(OfferedChannel channel);

    /// <summary>The channel's <see cref="OfferedChannel.TargetVp"/> has changed.</summary>
    void Retarget(OfferedChannel channel);

    /// <summary>The guest sent something that breaks the protocol; what was done about it is said in <paramref name="what"/>.</summary>
    void OnViolation(string what);
}
