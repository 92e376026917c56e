using System.Text;
using System.Threading.Channels;
using Vitro.WorkerProcess;

namespace Vitro.Cli.Run;

/// <summary>A serial port's output as lines.</summary>
/// <remarks>One writer (the port) and one reader; lines longer than 4 KiB are cut.</remarks>
internal sealed class SerialLines : ISerialEnd
{
    private const int LongestLine = 4096;
    private readonly Channel<string> _lines = Channel.CreateUnbounded<string>(new() { SingleReader = true });
    private readonly StringBuilder _line = new();

    internal ChannelReader<string> Reader => _lines.Reader;

    /// <summary>The last complete line.</summary>
    internal string Last { get; private set; } = "";

    public void Write(ReadOnlySpan<byte> data)
    {
        foreach (var value in data)
        {
            if (value == '\n')
            {
                Last = _line.ToString().TrimEnd('\r');
                _lines.Writer.TryWrite(Last);
                _line.Clear();
            }
            else if (_line.Length < LongestLine)
            {
                _line.Append((char)value);
            }
        }
    }

    /// <summary>No more lines will come.</summary>
    internal void Complete() => _lines.Writer.TryComplete();
}
