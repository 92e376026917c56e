using System.Globalization;
using Vitro.Configuration;
using Vitro.Tests;
using Vitro.WorkerProcess;

namespace Vitro.SystemTests.Linux;

/// <summary>A running Linux guest with a shell on its serial port.</summary>
internal sealed class LinuxShell : IAsyncDisposable
{
    private static readonly TimeSpan BootLimit = TimeSpan.FromSeconds(60);
    private readonly RunningMachine _machine;
    private int _commands;

    private LinuxShell(RunningMachine machine) => _machine = machine;

    internal RunningMachine Running => _machine;

    internal VirtualMachine Machine => _machine.Machine;

    /// <summary>Starts a machine and waits for its shell.</summary>
    internal static async Task<LinuxShell> BootAsync(VirtualMachineDefinition definition)
    {
        var shell = new LinuxShell(RunningMachine.Start(definition));
        try
        {
            await shell.WaitForShellAsync(0);
            return shell;
        }
        catch
        {
            await shell.DisposeAsync();
            throw;
        }
    }

    /// <summary>Takes a machine whose shell waits for a command.</summary>
    internal static LinuxShell Adopt(RunningMachine machine) => new(machine);

    /// <summary>Waits for a shell's greeting at or after a position of the transcript.</summary>
    internal Task<int> WaitForShellAsync(int from) => _machine.ExpectAsync("VITRO-SHELL", BootLimit, from);

    /// <summary>Runs a command and gives what it printed; it must succeed.</summary>
    internal async Task<string> RunAsync(string command, int seconds = 20)
    {
        var mark = $"END{(++_commands).ToString(CultureInfo.InvariantCulture)}=";
        var from = _machine.Serial.Length;

        // The quotes keep the echo of the typed line from being taken for the answer.
        await _machine.TypeLineAsync($"{command}; echo E''{mark[1..]}$?");
        var end = await _machine.ExpectAsync(mark, TimeSpan.FromSeconds(seconds), from);
        await _machine.ExpectAsync("\n", TimeSpan.FromSeconds(seconds), end);
        var output = _machine.Serial.Text[from..(end - mark.Length)];
        Check.That(_machine.Serial.Text[end] == '0', $"'{command}' succeeds in the guest:\n{output}");
        var echoed = output.LastIndexOf("$?", StringComparison.Ordinal);
        return output[(output.IndexOf('\n', echoed + 1) + 1)..].Replace("\r", "", StringComparison.Ordinal);
    }

    /// <summary>Types a command that ends the guest or its shell, and waits for nothing.</summary>
    internal ValueTask TypeAsync(string command) => _machine.TypeLineAsync(command);

    internal Task<MachineEnd> EndAsync() => _machine.EndAsync(TimeSpan.FromSeconds(40));

    public ValueTask DisposeAsync() => _machine.DisposeAsync();
}
