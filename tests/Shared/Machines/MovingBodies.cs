using System.Globalization;
using Vitro.Configuration;
using Vitro.SystemTests.Linux;
using Vitro.Tests;
using Vitro.WorkerProcess;

namespace Vitro.SystemTests;

/// <summary>What a guest must find when it is saved and goes on elsewhere, whatever the engines are.</summary>
internal static class MovingBodies
{
    // The count of rounds gets its name when it is whole: who reads it must never find an empty file.
    private const string Work =
        "while [ ! -e /tmp/stop ]; do n=$((n+1)); cp /var/lib/data /var/lib/copy$((n%3)) && sync && echo 3 > /proc/sys/vm/drop_caches; "
        + "[ \"$(busybox md5sum < /var/lib/copy$((n%3)))\" = \"$(cat /var/lib/sum)\" ] || echo bad >> /tmp/bad; echo $n > /tmp/round; busybox mv /tmp/round /tmp/rounds; done";

    // Programs find the processor's features in /proc/cpuinfo, the kernel keeps what it saw; all of it is as it was.
    private const string Processor = "grep -E 'flags|model|family|stepping' /proc/cpuinfo | sort -u | busybox md5sum";

    // What it was like when it was saved last: whoever goes on with it, in this process or elsewhere, asks the guest.
    private const string Remember = Processor + " > /tmp/processor; cat /proc/uptime > /tmp/uptime";

    /// <summary>A guest in the middle of disk writes and timers goes on, stop after stop, as if nothing had been; it powers off at the end.</summary>
    /// <param name="definition">A machine of the guest image with its root disk.</param>
    /// <param name="file">Where it is saved.</param>
    /// <param name="stops">The engines it goes on with, one after the other.</param>
    /// <param name="prepare">Called before each stop with its number; what it gives is disposed after it.</param>
    /// <param name="tell">Takes a line for every step done.</param>
    internal static async Task GoesOnInTheMiddleOfDiskWritesAsync(
        VirtualMachineDefinition definition, string file, IReadOnlyList<EngineChoice> stops, Func<int, IDisposable?> prepare, Action<string> tell)
    {
        await BeginsAsync(definition, file, tell);
        foreach (var (number, engine) in stops.Index())
        {
            using var choice = prepare(number);
            await GoesOnAsync(new MovingStop(number + 1, file, engine, IsLast: number + 1 == stops.Count), tell);
        }
    }

    /// <summary>A guest boots and is saved in the middle of disk writes and timers.</summary>
    /// <param name="definition">A machine of the guest image with its root disk.</param>
    /// <param name="file">Where it is saved.</param>
    /// <param name="tell">Takes a line for every step done.</param>
    /// <param name="patience">How much longer than on an idle machine the guest's work may take, wherever it goes on.</param>
    /// <returns>The file's length in bytes.</returns>
    internal static async Task<long> BeginsAsync(VirtualMachineDefinition definition, string file, Action<string> tell, int patience = 1)
    {
        // A slow machine executes as little as a million of the guest's instructions a second: a round must have few.
        var limit = 60 * patience;
        var blocks = Math.Max(1, 16 / patience);
        await using var shell = await LinuxShell.BootAsync(definition);
        await shell.RunAsync(
            $"dd if=/dev/urandom of=/var/lib/data bs=64k count={blocks} 2>/dev/null; busybox md5sum < /var/lib/data > /var/lib/sum; sync; dmesg -C", limit);
        await shell.RunAsync($"({Work}) > /tmp/log 2>&1 & until [ -e /tmp/rounds ]; do sleep {Pause(patience)}; done", limit);
        tell($"works under {shell.Machine.EngineName}");
        return await SaveAsync(shell, file, tell, limit);
    }

    /// <summary>
    /// The guest goes on where it was saved: its work does, its running time stood still, its wall clock is the host's again and its
    /// processor is the one it was. Then it is saved again, or ends its work, has nothing to complain of and powers off.
    /// </summary>
    /// <param name="stop">Where it goes on.</param>
    /// <param name="tell">Takes a line for every step done.</param>
    /// <param name="patience">How much longer than on an idle machine the guest's work may take.</param>
    /// <returns>The saved file's length in bytes; 0 at the last stop.</returns>
    internal static async Task<long> GoesOnAsync(MovingStop stop, Action<string> tell, int patience = 1)
    {
        var limit = 60 * patience;
        var pause = Pause(patience);
        var time = new ShiftedTime(TimeSpan.FromHours(stop.Number));
        await using var shell = LinuxShell.Adopt(RunningMachine.Restore(stop.File, time, stop.Engine, stop.Disk));
        Check.Equal(stop.Engine.ToString().ToUpperInvariant(), shell.Machine.EngineName.ToUpperInvariant());

        tell($"restored under {shell.Machine.EngineName}");
        var before = await RoundsAsync(shell, limit);
        var uptimes = (await shell.RunAsync("cat /tmp/uptime /proc/uptime", limit)).Split('\n')
            .Take(2).Select(line => double.Parse(line.Split(' ')[0], CultureInfo.InvariantCulture)).ToArray();
        Check.That(uptimes[1] - uptimes[0] is >= 0 and < 300, "the guest's running time stood still");
        var expected = time.GetUtcNow().ToUnixTimeSeconds();
        var clock = await shell.RunAsync($"until [ $(date +%s) -ge {expected} ]; do sleep {pause}; done; date +%s", limit);
        Check.That(long.Parse(clock, CultureInfo.InvariantCulture) - expected is >= 0 and < 300, "the guest's clock is right");
        Check.Equal("", await shell.RunAsync(Processor + " | busybox cmp - /tmp/processor", limit));
        tell($"clock and processor are right, {before} rounds done");
        await shell.RunAsync($"until read n < /tmp/rounds && [ $n -gt {before + 1} ]; do sleep {pause}; done", limit);
        if (!stop.IsLast)
        {
            return await SaveAsync(shell, stop.File, tell, limit);
        }

        await shell.RunAsync("touch /tmp/stop; wait", limit);
        Check.Equal("", await shell.RunAsync("cat /tmp/log /tmp/bad 2>/dev/null; true", limit));
        Check.Equal("", await shell.RunAsync("dmesg | grep -iE 'error|warn|bug|stall|lockup|hung|unstable|timed? ?out|fail|abort|reset'; true", limit));
        var from = shell.Running.Serial.Length;
        await shell.TypeAsync("poweroff");
        Check.Equal(MachineEndKind.PowerOff, (await shell.EndAsync()).Kind);
        Check.That(!shell.Running.Serial.Text[from..].Contains("error", StringComparison.OrdinalIgnoreCase), "the guest powers off without an error");
        return 0;
    }

    // Looking again must not take most of a slow machine's time, which a program started ten times a second would.
    private static string Pause(int patience) => (0.1 * patience).ToString(CultureInfo.InvariantCulture);

    private static async Task<long> SaveAsync(LinuxShell shell, string file, Action<string> tell, int limit)
    {
        await shell.RunAsync(Remember, limit);
        var length = await shell.Running.SaveAsync(file);
        tell($"saved, {length} bytes");
        return length;
    }

    private static async Task<long> RoundsAsync(LinuxShell shell, int limit) =>
        long.Parse(await shell.RunAsync("cat /tmp/rounds", limit), CultureInfo.InvariantCulture);
}

/// <summary>A place where a saved guest goes on.</summary>
/// <param name="Number">1 and up; the wall clock is so many hours ahead there.</param>
/// <param name="File">The saved machine, and where it is saved again.</param>
/// <param name="Engine">The engine.</param>
/// <param name="IsLast">The guest powers off there.</param>
/// <param name="Disk">The guest's disk where it was carried to another place; null where it stayed.</param>
internal sealed record MovingStop(int Number, string File, EngineChoice Engine, bool IsLast, string? Disk = null);
