using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>
/// The message and event ports of a partition as VMBus uses them (TLFS, "Inter-Partition Communication"): connection
/// ids at which the guest posts messages and signals events, and the way back through each processor's SynIC.
/// </summary>
/// <remarks>
/// All members are thread-safe. No lock is held while a port handler runs, so handlers may call back here. Register an
/// event port before the guest can learn of its connection id: a signal to an unknown id is refused, not remembered.
/// </remarks>
public interface ISynicPorts
{
    /// <summary>Longest message payload in bytes, in both directions.</summary>
    const int MaxPayload = 240;

    /// <summary>Number of event flags of one SINT; flags are 0 to 2047.</summary>
    const int EventFlagCount = 2048;

    /// <summary>Number of synthetic interrupt sources of a processor.</summary>
    const int SintCount = 16;

    /// <summary>Number of virtual processors; indexes below are 0 to this minus 1.</summary>
    int VirtualProcessorCount { get; }

    /// <summary>Takes messages that the guest posts to <paramref name="connectionId"/> (24 bits); replaces an earlier handler.</summary>
    void RegisterMessagePort(uint connectionId, IMessagePort port);

    /// <summary>From now on messages to this id are refused. A handler that is running is not waited for.</summary>
    void UnregisterMessagePort(uint connectionId);

    /// <summary>Takes events that the guest signals at <paramref name="connectionId"/> (24 bits); replaces an earlier handler.</summary>
    void RegisterEventPort(uint connectionId, IEventPort port);

    /// <summary>From now on signals to this id are refused. A handler that is running is not waited for.</summary>
    void UnregisterEventPort(uint connectionId);

    /// <summary>
    /// Has the engine's kernel add to an event counter (eventfd(2)) at each signal of flag 0 at this id, in place of a call of the
    /// registered port, which goes on hearing of what the kernel does not take.
    /// </summary>
    /// <param name="connectionId">The id.</param>
    /// <param name="file">The event counter. It may be disposed after <see cref="UnbindEventPort"/>.</param>
    /// <returns>False when the engine has no such way: every signal goes to the port.</returns>
    bool TryBindEventPort(uint connectionId, SafeHandle file) => false;

    /// <summary>Ends what <see cref="TryBindEventPort"/> began; nothing happens when it did not.</summary>
    void UnbindEventPort(uint connectionId)
    {
    }

    /// <summary>
    /// Sends a message to a SINT of a processor. It is delivered at once when the guest's slot is free and otherwise
    /// queued, in order, until the guest takes the one before it (or enables its SynIC).
    /// </summary>
    /// <param name="vpIndex">Receiving processor.</param>
    /// <param name="sint">Receiving SINT, 0 to 15.</param>
    /// <param name="messageType">Message type other than 0; VMBus uses 1.</param>
    /// <param name="sender">The message's sender (port) field.</param>
    /// <param name="payload">At most <see cref="MaxPayload"/> bytes; copied.</param>
    /// <returns>False when the queue is full (see <see cref="MessageQueueLimit"/>), or no such processor or SINT exists.</returns>
    bool TryPostMessage(int vpIndex, int sint, uint messageType, ulong sender, ReadOnlySpan<byte> payload);

    /// <summary>Messages one SINT queues at most.</summary>
    const int MessageQueueLimit = 4096;

    /// <summary>
    /// Messages queued for a SINT that the guest has not been given yet. A service that answers guest messages refuses
    /// new ones (<see cref="HypercallStatus.InsufficientBuffers"/>) while this is high, so that nothing is lost.
    /// </summary>
    int GetQueuedMessageCount(int vpIndex, int sint);

    /// <summary>Drops the messages queued for a SINT; the one already in the guest's slot stays.</summary>
    void DiscardMessages(int vpIndex, int sint);

    /// <summary>
    /// Sets an event flag of a SINT and interrupts the processor if the flag was clear. Free of locks and allocation.
    /// </summary>
    /// <returns>False when the guest has its event flags page or the SINT disabled: the signal is lost.</returns>
    bool TrySignalEvent(int vpIndex, int sint, int flag);
}

/// <summary>Takes messages that the guest posts (HvCallPostMessage).</summary>
public interface IMessagePort
{
    /// <summary>Takes one message. Called on the posting processor's thread, for several processors at once; must be short.</summary>
    /// <param name="vpIndex">Posting processor.</param>
    /// <param name="messageType">The guest's message type, never 0.</param>
    /// <param name="payload">A private copy, valid during the call; 0 to 240 bytes.</param>
    /// <returns>
    /// <see cref="HypercallStatus.Success"/>, or <see cref="HypercallStatus.InsufficientBuffers"/> to make the guest try again later.
    /// </returns>
    HypercallStatus OnMessage(int vpIndex, uint messageType, ReadOnlySpan<byte> payload);
}

/// <summary>Takes events that the guest signals (HvCallSignalEvent).</summary>
public interface IEventPort
{
    /// <summary>One signal. Called on the signalling processor's thread, for several processors at once; must only wake somebody.</summary>
    /// <param name="flag">Flag number relative to the port's first; 0 with VMBus.</param>
    void OnSignal(int flag);
}
