using System.Text;
using Vitro.Chipset;

namespace Vitro.UnitTests.Chipset;

/// <summary>Keeps what a port sends; can hold writes back or fail them.</summary>
internal sealed class FakeSerialBackend : ISerialBackend
{
    private readonly Lock _gate = new();
    private readonly List<byte> _bytes = [];

    internal TaskCompletionSource? Hold { get; set; }

    internal bool Fails { get; set; }

    internal int Writes { get; private set; }

    internal string Text
    {
        get
        {
            lock (_gate)
            {
                return Encoding.ASCII.GetString([.. _bytes]);
            }
        }
    }

    public async ValueTask WriteAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        if (Fails)
        {
            throw new IOException("The other end has gone.");
        }

        if (Hold is { } hold)
        {
            await hold.Task.WaitAsync(cancellationToken);
        }

        lock (_gate)
        {
            Writes++;
            _bytes.AddRange(bytes.Span);
        }
    }
}
