using Microsoft.Extensions.Logging;

namespace Vitro.WorkerProcess;

/// <summary>What a machine needs of whoever runs it.</summary>
public sealed record VirtualMachineHost
{
    /// <summary>Takes what the guest writes to its first serial port.</summary>
    public required ISerialEnd Serial { get; init; }

    /// <summary>Takes the worker's log.</summary>
    public required ILogger Log { get; init; }

    /// <summary>The time the machine lives by.</summary>
    public TimeProvider Time { get; init; } = Platform.PreciseTimeProvider.Instance;
}

/// <summary>The host's end of a serial port.</summary>
public interface ISerialEnd
{
    /// <summary>Takes bytes the guest sent. Called on one thread at a time, never a virtual processor's; may block.</summary>
    void Write(ReadOnlySpan<byte> data);
}
