using System.Globalization;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.Platform;
using Vitro.Tests;
using Vitro.WorkerProcess;
using Vitro.WorkerProcess.Saving;

namespace Vitro.SystemTests;

/// <summary>A machine in this process with its serial port kept as text. Every wait ends in a failure that shows the machine's state.</summary>
internal sealed class RunningMachine : IAsyncDisposable
{
    private readonly VirtualMachine _machine;

    private RunningMachine(Func<VirtualMachineHost, VirtualMachine> build, TimeProvider time)
    {
        _machine = build(new VirtualMachineHost { Serial = Serial, Log = NullLogger.Instance, Time = time });
        _machine.Start();
    }

    internal SerialTranscript Serial { get; } = new();

    internal VirtualMachine Machine => _machine;

    /// <summary>How much longer than on an idle machine waits may take; the environment variable VITRO_TEST_PATIENCE says it.</summary>
    private static double Patience { get; } =
        double.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_PATIENCE"), CultureInfo.InvariantCulture, out var factor) ? factor : 3;

    internal static RunningMachine Start(VirtualMachineDefinition definition) =>
        new(host => VirtualMachine.Create(definition, host), PreciseTimeProvider.Instance);

    /// <summary>Goes on with the machine saved in a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="time">What it takes for the host's time.</param>
    /// <param name="engine">The engine.</param>
    /// <param name="disk">Its disk, which was carried to another place and counts as unchanged; null where it stayed.</param>
    internal static RunningMachine Restore(string path, TimeProvider? time = null, EngineChoice engine = EngineChoice.Software, string? disk = null)
    {
        using var saved = SavedMachine.Open(path);
        var definition = saved.Definition with { Engine = engine };
        if (disk is not null)
        {
            definition = definition with { Disks = [new DiskDefinition(disk)] };
        }

        return new(host => VirtualMachine.Restore(saved, definition, host, acceptChangedDisks: disk is not null), time ?? PreciseTimeProvider.Instance);
    }

    /// <summary>Saves the machine, which ends by that.</summary>
    /// <returns>The file's length in bytes.</returns>
    internal async Task<long> SaveAsync(string path)
    {
        var saving = Machine.SaveAsync(path);
        await WaitAsync(Task.WhenAll(saving, Machine.Ended), TimeSpan.FromSeconds(60), "the machine to be saved");
        Check.Equal(new MachineEnd(MachineEndKind.Saved, path), await Machine.Ended);
        return await saving;
    }

    /// <summary>Waits for a text on the serial port; gives the position behind it.</summary>
    internal async Task<int> ExpectAsync(string text, TimeSpan limit, int from = 0)
    {
        var found = Serial.ExpectAsync(text, from);
        await WaitAsync(Task.WhenAny(found, Machine.Ended), limit, $"the text '{text}'");
        if (!found.IsCompleted)
        {
            // The port may still hand over the last bytes of a machine that has ended.
            await Task.WhenAny(found, Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System));
        }

        if (!found.IsCompleted)
        {
            throw new CheckFailedException($"The machine ended ({await Machine.Ended}) before it printed '{text}'.\n{Serial.Text}");
        }

        return await found;
    }

    /// <summary>Waits for the machine's end.</summary>
    internal async Task<MachineEnd> EndAsync(TimeSpan limit)
    {
        await WaitAsync(Machine.Ended, limit, "the machine's end");
        return await Machine.Ended;
    }

    /// <summary>Types a line on the serial port.</summary>
    internal ValueTask TypeLineAsync(string line) =>
        Machine.ReceiveSerialAsync(System.Text.Encoding.ASCII.GetBytes(line + "\n"), CancellationToken.None);

    /// <summary>Waits for a task and fails with the machine's state when it takes longer than allowed.</summary>
    internal async Task WaitAsync(Task task, TimeSpan limit, string what)
    {
        if (await Task.WhenAny(task, Task.Delay(limit * Patience, TimeProvider.System)) != task)
        {
            var tree = new InspectNode();
            Machine.Inspect(tree);
            throw new CheckFailedException($"Waited {limit * Patience} for {what} in vain.\n{Serial.Text}\n{tree.ToJson().ToJsonString()}");
        }

        await task;
    }

    /// <summary>Ends the machine; a machine that cannot be stopped is a failure and not a hang.</summary>
    public async ValueTask DisposeAsync() =>
        await WaitAsync(_machine.DisposeAsync().AsTask(), TimeSpan.FromSeconds(20), "the machine to stop");
}
