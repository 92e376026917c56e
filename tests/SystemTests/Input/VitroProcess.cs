using System.Diagnostics;
using System.Text;
using Xunit;

namespace Vitro.SystemTests.Input;

/// <summary>The program <c>vitro</c> as a process of its own, with its sockets in a folder that a test can look into.</summary>
internal sealed class VitroProcess : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(180);
    private readonly Process _process;
    private readonly StringBuilder _error = new();
    private readonly SerialTranscript _output = new();
    private readonly Task _reading;

    private VitroProcess(string runtimeFolder, IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory, "vitro"), arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        start.Environment["XDG_RUNTIME_DIR"] = runtimeFolder;
        _process = Process.Start(start)!;
        _reading = Task.WhenAll(ReadOutputAsync(), ReadErrorAsync());
    }

    internal int Id => _process.Id;

    internal static VitroProcess Start(string runtimeFolder, params IEnumerable<string> arguments) => new(runtimeFolder, arguments);

    /// <summary>Runs the program to its end; gives its exit code and what it wrote to standard output and error.</summary>
    internal static async Task<(int ExitCode, string Output, string Error)> RunAsync(string runtimeFolder, params IEnumerable<string> arguments)
    {
        await using var vitro = Start(runtimeFolder, arguments);
        var exitCode = await vitro.EndAsync();
        return (exitCode, vitro._output.Text, vitro._error.ToString());
    }

    internal Task<int> ExpectAsync(string text) => _output.ExpectAsync(text).WaitAsync(Limit, TimeProvider.System);

    internal void Type(string text)
    {
        _process.StandardInput.Write(text);
        _process.StandardInput.Flush();
    }

    /// <summary>The end that no program can prepare for.</summary>
    internal async Task KillAsync()
    {
        _process.Kill();
        await EndAsync();
    }

    internal async Task<int> EndAsync()
    {
        await _process.WaitForExitAsync().WaitAsync(Limit, TimeProvider.System);
        await _reading;
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            await KillAsync();
        }

        _process.Dispose();
    }

    private async Task ReadOutputAsync()
    {
        var buffer = new byte[4096];
        int count;
        while ((count = await _process.StandardOutput.BaseStream.ReadAsync(buffer)) > 0)
        {
            _output.Write(buffer.AsSpan(0, count));
        }
    }

    private async Task ReadErrorAsync()
    {
        while (await _process.StandardError.ReadLineAsync() is { } line)
        {
            _error.Append(line).Append('\n');
        }
    }
}
