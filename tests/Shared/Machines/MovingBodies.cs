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

    /// <summary>A guest in the middle of disk writes and timers goes on, stop after stop, as if nothing had been; it powers off at the end.</summary>
    /// <param name="definition">A machine of the guest image with its root disk.</param>
    /// <param name="file">Where it is saved.</param>
    /// <param name="stops">The engines it goes on with, one after the other.</param>
    /// <param name="prepare">Called before each stop with its number; what it gives is disposed after it.</param>
    /// <param name="tell">Takes a line for every step done.</param>
    /// <param name="patience">How much longer than on an idle machine the guest's work may take.</param>
    internal static async Task GoesOnInTheMiddleOfDiskWritesAsync(
        VirtualMachineDefinition definition,
        string file,
        IReadOnlyList<EngineChoice> stops,
        Func<int, IDisposable?> prepare,
        Action<string> tell,
        int patience = 1)
    {
        // A slow machine executes as little as a million of the guest's instructions a second: a round must have few, and waiting
        // for one must not take most of the time, which a program started ten times a second would.
        var limit = 60 * patience;
        var blocks = Math.Max(1, 16 / patience);
        var pause = (0.1 * patience).ToString(CultureInfo.InvariantCulture);
        double uptime;
        string processor;
        await using (var shell = await LinuxShell.BootAsync(definition))
        {
            await shell.RunAsync(
                $"dd if=/dev/urandom of=/var/lib/data bs=64k count={blocks} 2>/dev/null; busybox md5sum < /var/lib/data > /var/lib/sum; sync; dmesg -C", limit);
            await shell.RunAsync($"({Work}) > /tmp/log 2>&1 & until [ -e /tmp/rounds ]; do sleep {pause}; done", limit);
            processor = await shell.RunAsync(Processor, limit);
            uptime = await UptimeAsync(shell, limit);
            tell($"works under {shell.Machine.EngineName}");
            tell($"saved, {await shell.Running.SaveAsync(file)} bytes");
        }

        foreach (var (number, engine) in stops.Index())
        {
            using var choice = prepare(number);
            var time = new ShiftedTime(TimeSpan.FromHours(number + 1));
            await using var shell = LinuxShell.Adopt(RunningMachine.Restore(file, time, engine));
            Check.Equal(engine.ToString().ToUpperInvariant(), shell.Machine.EngineName.ToUpperInvariant());

            tell($"restored under {shell.Machine.EngineName}");

            // Work goes on, running time stood still, and the wall clock is the host's again.
            var before = await RoundsAsync(shell, limit);
            Check.That(await UptimeAsync(shell, limit) - uptime is >= 0 and < 300, "the guest's running time stood still");
            var expected = time.GetUtcNow().ToUnixTimeSeconds();
            var clock = await shell.RunAsync($"until [ $(date +%s) -ge {expected} ]; do sleep {pause}; done; date +%s", limit);
            Check.That(long.Parse(clock, CultureInfo.InvariantCulture) - expected is >= 0 and < 300, "the guest's clock is right");
            Check.Equal(processor, await shell.RunAsync(Processor, limit));
            tell($"clock and processor are right, {before} rounds done");
            await shell.RunAsync($"until read n < /tmp/rounds && [ $n -gt {before + 1} ]; do sleep {pause}; done", limit);
            if (number + 1 < stops.Count)
            {
                uptime = await UptimeAsync(shell, limit);
                tell($"saved, {await shell.Running.SaveAsync(file)} bytes");
                continue;
            }

            await shell.RunAsync("touch /tmp/stop; wait", limit);
            Check.Equal("", await shell.RunAsync("cat /tmp/log /tmp/bad 2>/dev/null; true", limit));
            Check.Equal("", await shell.RunAsync("dmesg | grep -iE 'error|warn|bug|stall|lockup|hung|unstable|timed? ?out|fail|abort|reset'; true", limit));
            var from = shell.Running.Serial.Length;
            await shell.TypeAsync("poweroff");
            Check.Equal(MachineEndKind.PowerOff, (await shell.EndAsync()).Kind);
            Check.That(!shell.Running.Serial.Text[from..].Contains("error", StringComparison.OrdinalIgnoreCase), "the guest powers off without an error");
        }
    }

    private static async Task<double> UptimeAsync(LinuxShell shell, int limit) =>
        double.Parse((await shell.RunAsync("cat /proc/uptime", limit)).Split(' ')[0], CultureInfo.InvariantCulture);

    private static async Task<long> RoundsAsync(LinuxShell shell, int limit) =>
        long.Parse(await shell.RunAsync("cat /tmp/rounds", limit), CultureInfo.InvariantCulture);
}
