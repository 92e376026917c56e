using Microsoft.Extensions.Logging;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Platform;
using Vitro.WorkerProcess;

namespace Vitro.Cli.Run;

/// <summary>Runs a machine in the foreground until it ends, with its serial port on the terminal, a file or a socket.</summary>
internal static class ForegroundMachine
{
    /// <summary>How long the guest has to shut down after Ctrl-] before the machine is turned off.</summary>
    private static readonly TimeSpan ShutdownPatience = TimeSpan.FromSeconds(60);

    /// <param name="definition">The machine.</param>
    /// <param name="restore">The saved machine to go on from; null boots.</param>
    /// <param name="serial">Where its serial port leads.</param>
    /// <param name="statistics">Print what it did when it ends.</param>
    /// <param name="cancellationToken">Shuts the guest down.</param>
    internal static async Task<int> RunAsync(
        VirtualMachineDefinition definition, RestoreChoice? restore, SerialChoice serial, bool statistics, CancellationToken cancellationToken)
    {
        DefinitionValidator.Validate(definition, HostMemory.Available(), isRestored: restore is not null);
        var log = new ConsoleLog();
        await using var end = SerialEnd.Open(serial);
        var host = new VirtualMachineHost { Serial = end, Log = log };
        await using var machine = restore?.Build(definition, host) ?? VirtualMachine.Create(definition, host);
        await using var control = OpenControl(definition.Name, machine, log);

        var detach = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var cancelled = cancellationToken.Register(() => detach.TrySetResult());
        using var terminal = serial.Kind == SerialKind.Stdio ? TerminalMode.EnterRaw() : null;
        if (terminal is not null)
        {
            var why = machine.EngineName != EngineCatalog.All[0].Name && EngineCatalog.WhyNotTheBest is { } reason ? $" ({reason})" : "";
            await Console.Error.WriteAsync($"On the {machine.EngineName} engine{why}.\r\nThe guest's console follows. Ctrl-] shuts the guest down.\r\n");
        }

        end.Attach(machine.ReceiveSerialAsync, () => detach.TrySetResult());
        machine.Start();
        if (await Task.WhenAny(machine.Ended, detach.Task) == detach.Task)
        {
            await ShutDownAsync(machine);
        }

        var ended = await machine.Ended;
        await end.DrainAsync();
        terminal?.Dispose();
        Report(ended);
        if (statistics)
        {
            var tree = new InspectNode();
            machine.Inspect(tree);
            await Console.Error.WriteLineAsync("VITRO-STATISTICS " + tree.ToJson().ToJsonString());
        }

        return ended.ExitCode;
    }

    private static ControlEndpoint OpenControl(string name, VirtualMachine machine, ILogger log)
    {
        try
        {
            return new ControlEndpoint(name, machine, log);
        }
        catch (IOException error)
        {
            throw new DefinitionException("--name", error.Message.TrimEnd('.'), "Choose another name");
        }
    }

    private static async Task ShutDownAsync(VirtualMachine machine)
    {
        await Console.Error.WriteAsync("\r\nShutting the guest down.\r\n");
        var answer = await machine.ShutDownGuestAsync(restart: false);
        if (answer != GuestRequestOutcome.Accepted
            || await Task.WhenAny(machine.Ended, Task.Delay(ShutdownPatience, TimeProvider.System)) != machine.Ended)
        {
            await Console.Error.WriteAsync(
                answer == GuestRequestOutcome.Accepted
                    ? $"The guest did not shut down in {ShutdownPatience.TotalSeconds:0} s; the machine is turned off.\r\n"
                    : "The guest's shutdown service does not answer; the machine is turned off.\r\n");
            machine.TurnOff();
        }
    }

    private static void Report(MachineEnd end)
    {
        var text = end.Kind switch
        {
            MachineEndKind.GuestCrash => "The guest crashed.\n" + end.Detail,
            MachineEndKind.TripleFault => "The guest shut down by a triple fault.\n" + end.Detail,
            MachineEndKind.InternalError => "The machine failed.\n" + end.Detail,
            MachineEndKind.Saved => $"The machine was saved. 'vitro run --restore {end.Detail}' goes on with it.",
            _ => null,
        };
        if (text is not null)
        {
            Console.Error.WriteLine(text);
        }
    }
}
