namespace Vitro.VmBus;

/// <summary>
/// The device side of a VMBus service (a virtualization service provider): what it offers and how it serves an open channel.
/// </summary>
/// <remarks>
/// <para>
/// A service is offered with <see cref="IVmBus.Offer"/>. Each time the guest opens one of its channels, the primary one
/// or a sub-channel, the bus starts a worker for that channel, as a rule a thread of its own, and makes every call below on it: one
/// <see cref="OnOpened"/>, any number of <see cref="OnSignalled"/>, one <see cref="OnClosed"/>. Calls for different
/// channels of one service run at the same time.
/// </para>
/// <para>
/// After a restore the bus calls <see cref="OnOpened"/> again for each channel that was open, with
/// <see cref="IVmBusChannel.IsRestored"/> set; the service has been restored before and keeps its state.
/// </para>
/// </remarks>
public interface IVmBusService
{
    /// <summary>What the guest sees; constant while the service is offered.</summary>
    VmBusOffer Offer { get; }

    /// <summary>The guest opened a channel. The service may send from now on.</summary>
    void OnOpened(IVmBusChannel channel);

    /// <summary>
    /// There may be packets to receive, or room to send after the ring was full, or somebody called
    /// <see cref="IVmBusChannel.Wake"/>. Called at least once after each of these; spurious calls happen. The service
    /// receives until <see cref="IVmBusChannel.TryReceive"/> is false, or calls <see cref="IVmBusChannel.Wake"/> to go on later.
    /// </summary>
    void OnSignalled(IVmBusChannel channel);

    /// <summary>
    /// The guest closed the channel, or the connection ended. When this returns the service touches no guest memory on
    /// behalf of the channel; requests in flight must have ended. Packets sent from now on go nowhere.
    /// </summary>
    void OnClosed(IVmBusChannel channel);
}
