using System.Diagnostics;
using Vitro.SystemTests.Input;
using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>A worker that is killed in the middle of disk writes: no more than a power cut.</summary>
public sealed class KilledWorkerTests
{
    [Theory]
    [InlineData("raw")]
    [InlineData("vhdx")]
    public async Task A_disk_checks_clean_after_its_worker_was_killed_while_the_guest_wrote(string format)
    {
        Assert.SkipUnless(File.Exists("/usr/sbin/e2fsck"), "e2fsck is not installed: 'apt-get install e2fsprogs' as root.");
        using var folder = new TemporaryFolder();
        using var root = format == "vhdx" ? LinuxImage.CopyRootDisk() : LinuxImage.CopyRawRootDisk();
        var disk = root.Path;
        await using var vitro = VitroProcess.Start(
            folder.Path, "run", "--name", "killed", "--memory", "512M", "--kernel", LinuxImage.Kernel, "--initrd", LinuxImage.Initrd,
            "--append", "console=ttyS0 quiet", "--disk", disk);
        await vitro.ExpectAsync("VITRO-SHELL");
        // Small files, each synchronised, so that metadata and journal move all the time.
        vitro.Type("while :; do i=$((i+1)); dd if=/dev/urandom of=/var/lib/f$((i%40)) bs=64k count=8 conv=fsync 2>/dev/null; echo RO''UND-$i-; done\n");
        await vitro.ExpectAsync("ROUND-5-");
        await vitro.KillAsync();

        Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "vhd", "check", disk)).ExitCode);
        var content = root.Path;
        if (format == "vhdx")
        {
            content = folder["after.img"];
            Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "vhd", "convert", disk, content)).ExitCode);
        }

        // 0 is clean, 1 that the journal was replayed; all else would be damage.
        using var check = Process.Start(new ProcessStartInfo("/usr/sbin/e2fsck", ["-f", "-p", content])
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        })!;
        var report = await check.StandardOutput.ReadToEndAsync();
        await check.WaitForExitAsync();
        Assert.True(check.ExitCode <= 1, report);
    }
}
