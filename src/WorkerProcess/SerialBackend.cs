using Vitro.Chipset;

namespace Vitro.WorkerProcess;

/// <summary>Leads a UART to the host's end of the port.</summary>
internal sealed class SerialBackend(ISerialEnd end) : ISerialBackend
{
    public ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        end.Write(bytes.Span);
        return ValueTask.CompletedTask;
    }
}
