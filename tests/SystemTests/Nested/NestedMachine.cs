using System.Diagnostics;
using System.Globalization;
using Xunit;

namespace Vitro.SystemTests.Nested;

/// <summary>
/// An emulated machine with SVM (QEMU's translator) under the stock Debian kernel and its own kvm-amd, in which the test
/// program of tests/NestedTests runs. The emulator keeps the vector state of a nested guest wrongly when it has XSAVE, so
/// the processor it shows has none.
/// </summary>
internal sealed class NestedMachine
{
    private const string Emulator = "qemu-system-x86_64";
    private static readonly Lazy<(string Image, string Program)> Parts = new(Prepare);

    /// <summary>What the machine's console showed, line by line.</summary>
    internal List<string> Lines { get; } = [];

    /// <summary>Runs the test program with arguments and gives its console.</summary>
    internal static async Task<NestedMachine> RunAsync(TimeSpan limit, params string[] arguments)
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
            var disk = Path.Combine(folder, "initrd.img");
            Shell($"cd '{folder}/files' && {{ cat '{image}'; find . | cpio -o -H newc --quiet; }} > '{disk}'");
            await machine.EmulateAsync(disk, string.Join(',', arguments), limit);
            return machine;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private async Task EmulateAsync(string initrd, string arguments, TimeSpan limit)
    {
        var start = new ProcessStartInfo(Emulator)
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        foreach (var argument in new[]
        {
            "-accel", "tcg,thread=multi", "-cpu", "max,+svm,-xsave", "-smp", "2", "-m", "2G", "-display", "none", "-serial", "stdio", "-monitor", "none",
            "-no-reboot", "-nic", "none", "-drive", $"file={Linux.LinuxImage.RootDiskPath},if=virtio,format=raw,snapshot=on",
            "-kernel", Linux.LinuxImage.Kernel, "-initrd", initrd,

            // Two emulated counters do not pass the kernel's test for synchrony, though they are one.
            "-append", $"console=ttyS0 quiet panic=-1 tsc=reliable vitro.run={arguments}",
        })
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
        var output = Path.Combine(tests, "bin", "nested");
        Shell($"dotnet publish '{tests}' -c Release -v quiet --nologo -p:RunAnalyzers=false -o '{output}' >&2");
        return (Path.Combine(image, "host.img"), Path.Combine(output, "Vitro.NestedTests"));
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
