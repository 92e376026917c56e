using System.Diagnostics;
using System.Globalization;
using Vitro.SystemTests.Input;
using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>The disk of a running machine is copied while its guest writes.</summary>
public sealed class CopiedDiskTests
{
    [Fact]
    public async Task The_copy_is_a_moment_of_the_disk_whatever_the_guest_writes_meanwhile()
    {
        Assert.SkipUnless(File.Exists("/usr/sbin/e2fsck") && File.Exists("/usr/sbin/debugfs"), "e2fsck and debugfs are not installed: 'apt-get install e2fsprogs' as root.");
        using var folder = new TemporaryFolder();
        using var root = LinuxImage.CopyRootDisk();
        var disk = root.Path;
        await using var vitro = VitroProcess.Start(
            folder.Path, "run", "--name", "copied", "--memory", "512M", "--kernel", LinuxImage.Kernel, "--initrd", LinuxImage.Initrd,
            "--append", "console=ttyS0 quiet", "--disk", disk);
        await vitro.ExpectAsync("VITRO-SHELL");

        // Each file is on the disk before the next begins, so at any one moment there is a first part of them.
        vitro.Type("mkdir /var/lib/n; while :; do i=$((i+1)); yes $i | head -c 20000 > /var/lib/n/$i; sync; echo RO''UND-$i-; done\n");
        await vitro.ExpectAsync("ROUND-3-");

        var copy = folder["copy.vhdx"];
        var copied = await VitroProcess.RunAsync(folder.Path, "vhd", "copy", disk, copy, "--machine", "copied");
        Assert.True(copied.ExitCode == 0, copied.Error);

        await vitro.ExpectAsync("ROUND-8-"); // the guest goes on
        Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "vhd", "check", copy)).ExitCode);
        await vitro.KillAsync();

        var content = folder["copy.img"];
        Assert.Equal(0, (await VitroProcess.RunAsync(folder.Path, "vhd", "convert", copy, content)).ExitCode);
        var (exitCode, report) = Run("/usr/sbin/e2fsck", "-f", "-p", content);
        Assert.True(exitCode <= 1, report); // 0 is clean, 1 that the journal was replayed; all else would be damage
        var names = Run("/usr/sbin/debugfs", "-R", "ls -p /var/lib/n", content).Output.Split('\n')
            .Select(line => line.Split('/')).Where(parts => parts.Length > 5 && int.TryParse(parts[5], CultureInfo.InvariantCulture, out _))
            .Select(parts => int.Parse(parts[5], CultureInfo.InvariantCulture)).Order().ToArray();
        Assert.True(names.Length >= 3, report);
        Assert.Equal(Enumerable.Range(1, names.Length), names);
        foreach (var name in names[..^1])
        {
            var line = name.ToString(CultureInfo.InvariantCulture) + "\n";
            var expected = string.Concat(Enumerable.Repeat(line, (20000 / line.Length) + 1))[..20000];
            Assert.Equal(expected, Run("/usr/sbin/debugfs", "-R", $"cat /var/lib/n/{name}", content).Output);
        }
    }

    private static (int ExitCode, string Output) Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
