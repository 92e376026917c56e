using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>The stock Debian kernel in a whole machine.</summary>
public sealed class LinuxTests
{
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(4, false)]
    [InlineData(1, true)]
    public async Task The_guest_boots_from_its_disk_with_every_device_bound_and_shuts_down_when_asked(int processors, bool translate)
    {
        using var choice = new ExecutionChoice(translate);
        using var disk = LinuxImage.CopyRootDisk();
        await MachineBodies.BootsBoundAndShutsDownAsync(LinuxImage.Define(processors, disk));
    }

    [Fact]
    public async Task What_the_guest_wrote_to_its_disk_is_there_after_a_reboot_and_after_a_new_start()
    {
        using var disk = LinuxImage.CopyRootDisk();
        var definition = LinuxImage.Define(processors: 1, disk);
        string sum;
        await using (var shell = await LinuxShell.BootAsync(definition))
        {
            await shell.RunAsync("dd if=/dev/urandom of=/var/lib/data bs=64k count=64 2>/dev/null && sync", seconds: 60);
            sum = await shell.RunAsync("busybox md5sum /var/lib/data", seconds: 40);
            var from = shell.Running.Serial.Length;
            await shell.TypeAsync("reboot");
            await shell.WaitForShellAsync(from);
            Assert.Equal(sum, await shell.RunAsync("busybox md5sum /var/lib/data", seconds: 40));
            await shell.TypeAsync("poweroff");
            Assert.Equal(MachineEndKind.PowerOff, (await shell.EndAsync()).Kind);
        }

        await using var again = await LinuxShell.BootAsync(definition);
        Assert.Equal(sum, await again.RunAsync("busybox md5sum /var/lib/data", seconds: 40));
    }

    [Fact]
    public async Task A_reboot_by_force_starts_the_guest_anew_and_a_power_off_by_force_ends_the_machine()
    {
        await using var shell = await LinuxShell.BootAsync(LinuxImage.DefineWithoutDisk(processors: 2));

        var from = shell.Running.Serial.Length;
        await shell.TypeAsync("reboot -f");
        await shell.WaitForShellAsync(from);

        await shell.TypeAsync("poweroff -f");
        Assert.Equal(MachineEndKind.PowerOff, (await shell.EndAsync()).Kind);
    }

    [Fact]
    public async Task A_guest_that_panics_ends_the_machine_with_its_message()
    {
        await using var shell = await LinuxShell.BootAsync(LinuxImage.DefineWithoutDisk(processors: 1));

        await shell.TypeAsync("echo c > /proc/sysrq-trigger");

        var end = await shell.EndAsync();
        Assert.Equal(MachineEndKind.GuestCrash, end.Kind);
        Assert.Contains("sysrq triggered crash", end.Detail, StringComparison.Ordinal);
        Assert.Equal(3, end.ExitCode);
    }

    [Fact]
    public async Task A_text_typed_on_the_host_reaches_the_guests_terminal()
    {
        await using var shell = await LinuxShell.BootAsync(LinuxImage.DefineWithoutDisk(processors: 1));

        // The marker comes from behind the opened terminal, so that nothing typed is lost.
        await shell.TypeAsync("{ echo REA''DY; read -r line; echo G''OT=\"$line\"; } < /dev/tty1");
        await shell.Running.ExpectAsync("READY", TimeSpan.FromSeconds(20));
        Assert.True(shell.Machine.TypeText("Hello, World! 42 {x}\n"));

        await shell.Running.ExpectAsync("GOT=Hello, World! 42 {x}", TimeSpan.FromSeconds(20));
    }

    [Fact]
    public async Task The_guest_boots_twenty_times_in_a_row()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1", "A long test: './test --long'.");
        await using var shell = await LinuxShell.BootAsync(LinuxImage.DefineWithoutDisk(processors: 2));
        for (var boot = 2; boot <= 20; boot++)
        {
            var from = shell.Running.Serial.Length;
            await shell.TypeAsync("reboot -f");
            await shell.WaitForShellAsync(from);
        }
    }
}
