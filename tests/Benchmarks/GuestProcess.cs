using System.Diagnostics;
using System.Text;

namespace Vitro.Benchmarks;

/// <summary>A virtual machine program whose console is its standard output: ours or the peer's.</summary>
internal sealed class GuestProcess : IDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly List<(int Length, OutputMoment Moment)> _moments = [];
    private readonly SemaphoreSlim _changed = new(0);
    private readonly Task _reading;

    private GuestProcess(Process process)
    {
        _process = process;
        _reading = Task.WhenAll(ReadAsync(process.StandardOutput), ReadAsync(process.StandardError));
    }

    /// <summary>All that the guest and its program wrote.</summary>
    internal string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    internal int Id => _process.Id;

    /// <summary>When the character at a place of <see cref="Output"/> arrived.</summary>
    internal OutputMoment MomentAt(int place)
    {
        lock (_output)
        {
            return _moments.First(entry => entry.Length > place).Moment;
        }
    }

    internal static GuestProcess Start(string program, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        return new GuestProcess(Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start."));
    }

    /// <summary>Waits for a text in the output.</summary>
    /// <returns>The time since the start.</returns>
    /// <exception cref="InvalidOperationException">The program ended or the time passed without it.</exception>
    internal async Task<TimeSpan> WaitForAsync(string text, TimeSpan limit, CancellationToken cancellationToken)
    {
        while (true)
        {
            var ended = _reading.IsCompleted;
            if (Output.Contains(text, StringComparison.Ordinal))
            {
                return _clock.Elapsed;
            }

            if (ended || _clock.Elapsed > limit)
            {
                var output = Output;
                throw new InvalidOperationException(
                    $"{_process.StartInfo.FileName} {(ended ? "ended" : $"took more than {limit.TotalSeconds:0} s")} without {text}. "
                    + "The end of its output:\n" + output[Math.Max(0, output.Length - 1500)..]);
            }

            await _changed.WaitAsync(TimeSpan.FromMilliseconds(200), cancellationToken);
        }
    }

    internal Task SendAsync(string text) => _process.StandardInput.WriteAsync(text);

    internal async Task<bool> WaitForExitAsync(TimeSpan limit, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(limit);
        try
        {
            await _process.WaitForExitAsync(timeout.Token);
            await _reading.WaitAsync(timeout.Token);
            return true;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit();
        }

        _process.Dispose();
        _changed.Dispose();
    }

    private async Task ReadAsync(StreamReader reader)
    {
        var buffer = new char[4096];
        int count;
        while ((count = await reader.ReadAsync(buffer)) > 0)
        {
            lock (_output)
            {
                _output.Append(buffer, 0, count);
                _moments.Add((_output.Length, new OutputMoment(_clock.Elapsed.TotalSeconds, ProcessorSeconds())));
            }

            if (_changed.CurrentCount == 0)
            {
                _changed.Release();
            }
        }
    }

    private double ProcessorSeconds()
    {
        try
        {
            _process.Refresh();
            return _process.TotalProcessorTime.TotalSeconds;
        }
        catch (InvalidOperationException)
        {
            // Ended: what it had used when it last wrote.
            return _moments.Count == 0 ? 0 : _moments[^1].Moment.ProcessorSeconds;
        }
    }
}

/// <summary>Seconds since the program's start, and processor time that it had used.</summary>
internal readonly record struct OutputMoment(double Seconds, double ProcessorSeconds);
