using System.Globalization;
using Vitro.Configuration;
using Vitro.SystemTests.Input;
using Vitro.SystemTests.Linux;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.Saving;

/// <summary>The stock Debian kernel saved in the middle of disk writes and timers, and restored by interpreter and translator in turn.</summary>
public sealed class LinuxSavingTests
{
    private const string Work =
        "while [ ! -e /tmp/stop ]; do n=$((n+1)); cp /var/lib/data /var/lib/copy$((n%3)) && sync && echo 3 > /proc/sys/vm/drop_caches; "
        + "[ \"$(busybox md5sum < /var/lib/copy$((n%3)))\" = \"$(cat /var/lib/sum)\" ] || echo bad >> /tmp/bad; echo $n > /tmp/rounds; done";

    [Theory]
    [InlineData(1, "raw", 2)]
    [InlineData(2, "vhdx", 2)]
    [InlineData(4, "raw", 1)]
    public async Task A_guest_in_the_middle_of_disk_writes_goes_on_as_if_nothing_had_been(int processors, string format, int rounds)
    {
        using var folder = new TemporaryFolder();
        using var raw = LinuxImage.CopyRootDisk();
        var disk = raw;
        if (format == "vhdx")
        {
            disk = new LinuxImage.RootDisk(folder["root.vhdx"]);
            Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "vhd", "convert", raw.Path, disk.Path)).ExitCode);
        }

        var file = folder["machine.vmrs"];
        double uptime;
        await using (var shell = await LinuxShell.BootAsync(LinuxImage.Define(processors, disk)))
        {
            await shell.RunAsync("dd if=/dev/urandom of=/var/lib/data bs=64k count=16 2>/dev/null; busybox md5sum < /var/lib/data > /var/lib/sum; sync; dmesg -C", seconds: 60);
            await shell.RunAsync($"({Work}) > /tmp/log 2>&1 & until [ -e /tmp/rounds ]; do sleep 0.1; done", seconds: 60);
            uptime = await UptimeAsync(shell);
            await shell.Running.SaveAsync(file);
        }

        for (var round = 0; round < rounds; round++)
        {
            using var choice = new ExecutionChoice(round % 2 == 0);
            var away = TimeSpan.FromHours(round + 1);
            var time = new ShiftedTime(away);
            await using var shell = LinuxShell.Adopt(RunningMachine.Restore(file, time));

            // Work goes on, running time stood still, and the wall clock is the host's again.
            var before = await RoundsAsync(shell);
            Assert.InRange(await UptimeAsync(shell) - uptime, 0, 300);
            var expected = time.GetUtcNow().ToUnixTimeSeconds();
            var clock = await shell.RunAsync($"until [ $(date +%s) -ge {expected} ]; do sleep 0.1; done; date +%s", seconds: 30);
            Assert.InRange(long.Parse(clock, CultureInfo.InvariantCulture) - expected, 0, 100);
            await shell.RunAsync($"until [ $(cat /tmp/rounds) -gt {before + 1} ]; do sleep 0.1; done", seconds: 60);
            uptime = await UptimeAsync(shell);
            await shell.Running.SaveAsync(file);
        }

        await using (var last = LinuxShell.Adopt(RunningMachine.Restore(file)))
        {
            await last.RunAsync("touch /tmp/stop; wait", seconds: 60);
            Assert.Equal("", await last.RunAsync("cat /tmp/log /tmp/bad 2>/dev/null; true"));
            Assert.Equal("", await last.RunAsync("dmesg | grep -iE 'error|warn|bug|stall|lockup|hung|unstable|timed? ?out|fail|abort|reset'; true"));
            var from = last.Running.Serial.Length;
            await last.TypeAsync("poweroff");
            Assert.Equal(MachineEndKind.PowerOff, (await last.EndAsync()).Kind);
            Assert.DoesNotContain("error", last.Running.Serial.Text[from..], StringComparison.OrdinalIgnoreCase);
        }

        // The disk has moved on by now: the file's memory would destroy what is on it.
        var refusal = Assert.Throws<DefinitionException>(() => RunningMachine.Restore(file));
        Assert.Contains(disk.Path, refusal.Message, StringComparison.Ordinal);
        Assert.Contains("has changed", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_machine_that_cannot_be_saved_goes_on()
    {
        using var folder = new TemporaryFolder();
        await using var shell = await LinuxShell.BootAsync(LinuxImage.DefineWithoutDisk(processors: 2));

        await Assert.ThrowsAsync<IOException>(() => shell.Machine.SaveAsync(folder["missing/machine.vmrs"]));
        await Assert.ThrowsAsync<IOException>(() => shell.Machine.SaveAsync(folder.Path));

        Assert.Equal("42\n", await shell.RunAsync("echo $((6*7))"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }

    private static async Task<double> UptimeAsync(LinuxShell shell) =>
        double.Parse((await shell.RunAsync("cat /proc/uptime")).Split(' ')[0], CultureInfo.InvariantCulture);

    private static async Task<long> RoundsAsync(LinuxShell shell) =>
        long.Parse(await shell.RunAsync("cat /tmp/rounds"), CultureInfo.InvariantCulture);
}
