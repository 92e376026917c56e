using System.Diagnostics;
using System.Globalization;
using Vitro.Configuration;
using Vitro.WorkerProcess;

namespace Vitro.Cli.Run;

/// <summary>
/// <c>vitro run --check</c>: boots the guest twice with nobody at the keyboard. The guest checks its devices and writes
/// data in the first boot and verifies the data in the second (<c>/etc/vitro/check</c> of the guest image); each boot
/// ends through the shutdown integration service.
/// </summary>
internal sealed class GuestCheck
{
    private const string CheckPrefix = "VITRO-CHECK ";
    private const string ShellLine = "VITRO-SHELL";
    private static readonly TimeSpan BootPatience = TimeSpan.FromMinutes(8);
    private static readonly TimeSpan ShutdownPatience = TimeSpan.FromMinutes(2);
    private readonly VirtualMachineDefinition _definition;
    private bool _failed;

    private GuestCheck(VirtualMachineDefinition definition) => _definition = definition;

    internal static async Task<int> RunAsync(VirtualMachineDefinition definition, CancellationToken cancellationToken)
    {
        DefinitionValidator.Validate(definition, HostMemory.Available());
        var check = new GuestCheck(definition);
        foreach (var (number, word) in new[] { (1, "write"), (2, "verify") })
        {
            if (!await check.BootAsync(number, word, cancellationToken))
            {
                break;
            }
        }

        Console.WriteLine(check._failed ? "The check failed." : "Everything holds.");
        return check._failed ? ExitCodes.Failure : ExitCodes.Success;
    }

    // False when a further boot would tell nothing.
    private async Task<bool> BootAsync(int number, string word, CancellationToken cancellationToken)
    {
        Console.WriteLine($"Boot {number}: starting; the guest checks itself and the disk ({word}).");
        var started = Stopwatch.GetTimestamp();
        var definition = _definition with
        {
            Boot = _definition.Boot with { CommandLine = $"{_definition.Boot.CommandLine} vitro.check={word}" },
        };
        var lines = new SerialLines();
        await using var machine = VirtualMachine.Create(definition, new VirtualMachineHost { Serial = lines, Log = new ConsoleLog() });
        machine.Start();
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(BootPatience);
        _ = machine.Ended.ContinueWith(_ => lines.Complete(), TaskScheduler.Default);
        var done = false;
        try
        {
            await foreach (var line in lines.Reader.ReadAllAsync(patience.Token))
            {
                if (line.StartsWith(CheckPrefix, StringComparison.Ordinal))
                {
                    done |= Take(line[CheckPrefix.Length..]);
                }
                else if (line == ShellLine)
                {
                    Report("shell", true, $"{Seconds(started)} s after the start");
                    break;
                }
            }
        }
        catch (OperationCanceledException)
        {
            Report("boot", false, $"no shell within {BootPatience.TotalMinutes:0} minutes; the last line was: {lines.Last}");
            return false;
        }

        if (machine.Ended.IsCompleted)
        {
            var end = await machine.Ended;
            Report("boot", false, $"the machine ended before the shell ({end.Kind}): {end.Detail}");
            return false;
        }

        if (!done)
        {
            Report("checks", false, "the guest did not finish its checks; is it the image of guests/build?");
        }

        return await ShutDownAsync(machine);
    }

    private async Task<bool> ShutDownAsync(VirtualMachine machine)
    {
        var started = Stopwatch.GetTimestamp();
        var answer = await machine.ShutDownGuestAsync(restart: false);
        if (answer != GuestRequestOutcome.Accepted)
        {
            Report("shutdown", false, answer == GuestRequestOutcome.Refused ? "the guest refused" : "the guest's service does not answer");
            return false;
        }

        if (await Task.WhenAny(machine.Ended, Task.Delay(ShutdownPatience, TimeProvider.System)) != machine.Ended)
        {
            Report("shutdown", false, $"accepted, but the guest still ran after {ShutdownPatience.TotalMinutes:0} minutes");
            return false;
        }

        var end = await machine.Ended;
        Report("shutdown", end.Kind == MachineEndKind.PowerOff, $"{end.Kind} {Seconds(started)} s after the request {end.Detail}".TrimEnd());
        return end.Kind == MachineEndKind.PowerOff;
    }

    // "name ok|fail detail"; true when it is the guest's last.
    private bool Take(string text)
    {
        var parts = text.Split(' ', 3);
        if (parts.Length < 2)
        {
            return false;
        }

        if (parts[0] == "done")
        {
            return true;
        }

        Report(parts[0], parts[1] == "ok", parts.Length > 2 ? parts[2] : "");
        return false;
    }

    private void Report(string name, bool good, string detail)
    {
        _failed |= !good;
        Console.WriteLine($"  {(good ? "ok  " : "FAIL")} {name,-16} {detail}");
    }

    private static string Seconds(long started) => Stopwatch.GetElapsedTime(started).TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture);
}
