namespace Vitro.Chipset;

/// <summary>What a serial port's line leads to: a terminal, a file, a socket.</summary>
public interface ISerialBackend
{
    /// <summary>
    /// Takes what the guest has sent. The port awaits the task before it sends more, and meanwhile holds the guest's
    /// transmitter busy once its own buffer is full: that is the flow control. One call at a time, on a pool thread.
    /// </summary>
    ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken);
}

/// <summary>The receiving end of a serial port, which a back end feeds.</summary>
/// <remarks>Thread-safe.</remarks>
public interface ISerialInput
{
    /// <summary>Queues bytes for the guest and returns how many were taken; fewer than given when the queue is full.</summary>
    int Receive(ReadOnlySpan<byte> bytes);

    /// <summary>Completes when the queue has room again.</summary>
    ValueTask WaitForRoomAsync(CancellationToken cancellationToken);
}
