using Vitro.Hypervisor.Vid;

namespace Vitro.VmBus;

/// <summary>An open channel as a service sees it: two rings, a signal each way, and the guest's GPADLs.</summary>
/// <remarks>
/// Sending and <see cref="Wake"/> are thread-safe. <see cref="TryReceive"/> belongs to the channel's own worker, on which
/// the service is called. Sending into a closed channel does nothing. Neither direction allocates.
/// </remarks>
public interface IVmBusChannel
{
    /// <summary>The channel number, 1 to 2047.</summary>
    uint ChannelId { get; }

    /// <summary>0 for the primary channel; sub-channels count from 1.</summary>
    ushort SubChannelIndex { get; }

    /// <summary>The user data of the guest's open request, 120 bytes.</summary>
    ReadOnlySpan<byte> OpenData { get; }

    /// <summary>The negotiated VMBus version, major in the upper half: 0x00050003 is 5.3.</summary>
    uint VmBusVersion { get; }

    /// <summary>The channel was open when the machine's state was saved.</summary>
    bool IsRestored { get; }

    /// <summary>The guest can still hear.</summary>
    bool IsOpen { get; }

    /// <summary>Guest physical memory, for the ranges of GPA-direct packets.</summary>
    GpaSpace Memory { get; }

    /// <summary>Bytes of the host-to-guest ring that hold packets, descriptors included.</summary>
    int SendCapacity { get; }

    /// <summary>Something the service may keep with the channel; null at first.</summary>
    object? Tag { get; set; }

    /// <summary>
    /// Takes the next packet off the guest-to-host ring, copied and validated. False when the ring is empty, when the
    /// backlog of <see cref="Send"/> is not empty (the guest is to drain its completions first), or when the guest has
    /// broken the ring, which then stays dead until it is opened anew.
    /// </summary>
    /// <param name="packet">Valid until the next call.</param>
    bool TryReceive(out VmBusPacket packet);

    /// <summary>
    /// Sends a packet, or says that the ring is full; then <see cref="IVmBusService.OnSignalled"/> follows when there is room.
    /// </summary>
    bool TrySend(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload);

    /// <summary>
    /// Sends a packet; when the ring is full it waits in a backlog, in order, and goes out as the guest makes room. For
    /// packets whose number the guest's own requests bound: completions and small notifications.
    /// </summary>
    void Send(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload);

    /// <summary>
    /// Holds back publication and signalling of packets until the matching <see cref="EndBatch"/>, so that many packets
    /// cost the guest one interrupt. Nests; keep it short.
    /// </summary>
    void BeginBatch();

    /// <summary>Ends what <see cref="BeginBatch"/> began.</summary>
    void EndBatch();

    /// <summary>Makes the channel's worker call <see cref="IVmBusService.OnSignalled"/> soon.</summary>
    void Wake();

    /// <summary>
    /// Asks the bus to offer sub-channels 1 to <paramref name="count"/> of this primary channel, less those offered
    /// already. They are rescinded when the primary channel closes.
    /// </summary>
    void OfferSubChannels(int count);

    /// <summary>Finds a GPADL the guest has created on this channel; false when there is none by that handle.</summary>
    bool TryGetGpadl(uint handle, out Gpadl gpadl);
}

/// <summary>Convenient forms of sending.</summary>
public static class VmBusChannelExtensions
{
    /// <summary>Answers a request that asked for a completion.</summary>
    public static void SendCompletion(this IVmBusChannel channel, ulong transactionId, ReadOnlySpan<byte> payload) =>
        channel.Send(VmBusPacketType.Completion, VmBusPacketFlags.None, transactionId, payload);

    /// <summary>Sends an in-band packet, by default an unsolicited one (transaction 0) that wants no completion.</summary>
    public static void SendInBand(
        this IVmBusChannel channel,
        ReadOnlySpan<byte> payload,
        ulong transactionId = 0,
        VmBusPacketFlags flags = VmBusPacketFlags.None) =>
        channel.Send(VmBusPacketType.InBand, flags, transactionId, payload);
}
