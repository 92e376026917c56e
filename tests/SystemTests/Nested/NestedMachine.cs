using System.Diagnostics;
using System.Globalization;
using Xunit;

namespace Vitro.SystemTests.Nested;

/// <summary>
/// An emulated machine with SVM (QEMU's translator) under the stock Debian kernel and its own kvm-amd, in which the test
/// program of tests/NestedTests runs.
/// </summary>
/// <remarks>
/// It has one processor, on which the virtual processors of the nested guest take turns. With two on threads of their own
/// this emulator goes on, now and then, executing a breakpoint that the kernel had set only while it rewrote its code, and
/// both processors hang; with two on one thread it has delivered an injected interrupt twice. It also keeps the vector
/// state of a nested guest wrongly when it has XSAVE, so the processor it shows has none.
/// </remarks>
internal sealed class NestedMachine
{
    private const string Emulator = "qemu-system-x86_64";
    private static readonly Lazy<(string Image, string Program)> Parts = new(Prepare);

    /// <summary>What the machine's console showed, line by line.</summary>
    internal List<string> Lines { get; } = [];

    /// <summary>Runs the test program with arguments and gives its console.</summary>
    internal static Task<NestedMachine> RunAsync(TimeSpan limit, params string[] arguments) =>
        RunAsync(limit, [$"{Linux.LinuxImage.RootDiskPath},snapshot=on"], "", arguments);

    /// <summary>The same with a choice of its disks and with more words on its kernel's command line.</summary>
    internal static async Task<NestedMachine> RunAsync(TimeSpan limit, IReadOnlyList<string> disks, string commandLine, params string[] arguments)
    {
        Assert.SkipUnless(Find(Emulator) is not null, $"{Emulator} is not installed: 'apt-get install qemu-system-x86' as root.");
        Assert.SkipUnless(Find("gcc") is not null, "gcc links the test program and is not installed: 'apt-get install gcc libc6-dev' as root.");
        var (image, program) = Parts.Value;
        var machine = new NestedMachine();
        var folder = Path.Combine(Path.GetTempPath(), $"vitro-nested-{Guid.NewGuid():N}");
        Directory.CreateDirectory(Path.Combine(folder, "files", "program"));
        Directory.CreateDirectory(Path.Combine(folder, "files", "guest"));
        try
        {
            File.Copy(program, Path.Combine(folder, "files", "program", "nested"));
            File.Copy(Linux.LinuxImage.Kernel, Path.Combine(folder, "files", "guest", "vmlinuz"));
            File.Copy(Linux.LinuxImage.Initrd, Path.Combine(folder, "files", "guest", "initrd.img"));
            var initrd = Path.Combine(folder, "initrd.img");
            Shell($"cd '{folder}/files' && {{ cat '{image}'; find . | cpio -o -H newc --quiet; }} > '{initrd}'");
            await machine.EmulateAsync(initrd, disks, $"{commandLine} vitro.run={string.Join(',', arguments)}", limit);
            return machine;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private async Task EmulateAsync(string initrd, IReadOnlyList<string> disks, string commandLine, TimeSpan limit)
    {
        var start = new ProcessStartInfo(Emulator)
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        foreach (var argument in new[]
        {
            "-accel", "tcg", "-cpu", "max,+svm,-xsave", "-smp", "1", "-m", "2G", "-display", "none", "-serial", "stdio", "-monitor", "none",
            "-no-reboot", "-nic", "none", "-kernel", Linux.LinuxImage.Kernel, "-initrd", initrd,

            // The kernel measures the emulated counter against emulated timers and would find it unsteady on a busy host.
            "-append", $"console=ttyS0 quiet panic=-1 tsc=reliable {commandLine}",
        }.Concat(disks.SelectMany(disk => new[] { "-drive", $"if=virtio,format=raw,file={disk}" })))
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        using var patience = new CancellationTokenSource(limit, TimeProvider.System);
        try
        {
            while (await process.StandardOutput.ReadLineAsync(patience.Token) is { } line)
            {
                Lines.Add(line.TrimEnd());
            }
        }
        catch (OperationCanceledException)
        {
            Lines.Add(string.Create(CultureInfo.InvariantCulture, $"Stopped after {limit}."));
        }

        if (!process.HasExited)
        {
            process.Kill();
        }

        await process.WaitForExitAsync(CancellationToken.None);
    }

    private static (string Image, string Program) Prepare()
    {
        var tests = Path.Combine(SourceTree.Root, "tests", "NestedTests");
        var image = Shell($"'{tests}/image'").Trim().Split('\n')[^1];
        var program = Shell($"'{tests}/program'").Trim().Split('\n')[^1];
        return (Path.Combine(image, "host.img"), program);
    }

    private static string Shell(string command)
    {
        using var process = Process.Start(new ProcessStartInfo("/bin/bash", ["-c", command]) { RedirectStandardOutput = true, UseShellExecute = false })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Check(process.ExitCode == 0, $"'{command}' failed: {output}");
        return output;
    }

    private static void Check(bool holds, string message) => Assert.True(holds, message);

    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
}
