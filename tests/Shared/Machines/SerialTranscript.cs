using System.Text;
using Vitro.WorkerProcess;

namespace Vitro.SystemTests;

/// <summary>Keeps what a guest writes to its serial port and lets a test wait for a text in it.</summary>
internal sealed class SerialTranscript : ISerialEnd
{
    private readonly Lock _gate = new();
    private readonly StringBuilder _text = new();
    private readonly List<Expectation> _expectations = [];

    internal string Text
    {
        get
        {
            lock (_gate)
            {
                return _text.ToString();
            }
        }
    }

    internal int Length
    {
        get
        {
            lock (_gate)
            {
                return _text.Length;
            }
        }
    }

    public void Write(ReadOnlySpan<byte> data)
    {
        lock (_gate)
        {
            _text.Append(Encoding.Latin1.GetString(data));
            for (var i = _expectations.Count - 1; i >= 0; i--)
            {
                if (Find(_expectations[i].Text, _expectations[i].From) is { } end)
                {
                    _expectations[i].Found.TrySetResult(end);
                    _expectations.RemoveAt(i);
                }
            }
        }
    }

    /// <summary>Completes with the position behind the first occurrence of a text at or after a position.</summary>
    internal Task<int> ExpectAsync(string text, int from = 0)
    {
        lock (_gate)
        {
            var found = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            if (Find(text, from) is { } end)
            {
                found.SetResult(end);
            }
            else
            {
                _expectations.Add(new Expectation(text, from, found));
            }

            return found.Task;
        }
    }

    private int? Find(string text, int from)
    {
        var at = _text.ToString(from, _text.Length - from).IndexOf(text, StringComparison.Ordinal);
        return at < 0 ? null : from + at + text.Length;
    }

    private sealed record Expectation(string Text, int From, TaskCompletionSource<int> Found);
}
