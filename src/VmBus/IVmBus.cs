namespace Vitro.VmBus;

/// <summary>The bus as services' owners see it.</summary>
/// <remarks>Thread-safe.</remarks>
public interface IVmBus
{
    /// <summary>
    /// Offers a service's primary channel to the guest, at once when one is connected. The signal port exists before
    /// the guest hears of the channel.
    /// </summary>
    /// <returns>A handle for <see cref="Rescind"/>.</returns>
    /// <exception cref="InvalidOperationException">All 2,047 relids are taken, or the same class and instance is offered already.</exception>
    IVmBusOfferHandle Offer(IVmBusService service);

    /// <summary>
    /// Takes an offer back with its sub-channels (hot removal). Open channels are closed first; the relid is used again
    /// only after the guest has released it.
    /// </summary>
    void Rescind(IVmBusOfferHandle offer);
}

/// <summary>An offer on the bus, from <see cref="IVmBus.Offer"/> until it is rescinded.</summary>
public interface IVmBusOfferHandle
{
    /// <summary>The service behind it.</summary>
    IVmBusService Service { get; }

    /// <summary>The channel number; also the guest's event flag. 1 to 2047.</summary>
    uint ChannelId { get; }
}
