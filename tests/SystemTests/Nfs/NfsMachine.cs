using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Xunit;

namespace Vitro.SystemTests.Nfs;

/// <summary>
/// An emulated machine (QEMU's translator) under the stock Debian kernel, whose NFS server two network namespaces mount as
/// two hosts; vitro and the .NET runtime of these tests are in its initial RAM disk.
/// </summary>
internal sealed class NfsMachine
{
    private const string Emulator = "qemu-system-x86_64";
    private readonly List<string> _lines = [];

    /// <summary>What vitro was told, how it ended and what it said, in order.</summary>
    internal Queue<(string Command, int ExitCode, string Output)> Checks { get; } = [];

    /// <summary>What did not work in the machine itself.</summary>
    internal List<string> Failures { get; } = [];

    /// <summary>NFS clients the server knew.</summary>
    internal int Clients { get; private set; }

    internal string Console => string.Join('\n', _lines);

    internal static async Task<NfsMachine> RunAsync(TimeSpan limit)
    {
        Assert.SkipUnless(
            (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(folder => File.Exists(Path.Combine(folder, Emulator))),
            $"{Emulator} is not installed: 'apt-get install qemu-system-x86' as root.");
        var machine = new NfsMachine();
        var folder = Path.Combine(Path.GetTempPath(), $"vitro-nfs-{Guid.NewGuid():N}");
        Directory.CreateDirectory(folder);
        try
        {
            await machine.EmulateAsync(MakeInitrd(folder), limit);
            machine.Read();
            return machine;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string MakeInitrd(string folder)
    {
        var image = Shell($"'{SourceTree.Root}/tests/SystemTests/Nfs/image'").Trim().Split('\n')[^1];
        var tool = Path.Combine(SourceTree.Root, "src", "Cli", "bin", "Release", "net10.0");
        var runtime = RuntimeEnvironment.GetRuntimeDirectory().TrimEnd('/'); // ROOT/shared/Microsoft.NETCore.App/VERSION
        var root = Path.GetFullPath(Path.Combine(runtime, "..", "..", ".."));
        var initrd = Path.Combine(folder, "initrd.img");
        Shell($"""
            set -e
            mkdir -p '{folder}/files/vitro' '{folder}/files/dotnet/host' '{folder}/files/dotnet/shared/Microsoft.NETCore.App'
            cd '{folder}/files'
            cp '{tool}'/*.dll '{tool}'/vitro.*json vitro/
            cp '{root}/dotnet' dotnet/
            cp -r '{root}/host/fxr' dotnet/host/
            cp -r '{runtime}' dotnet/shared/Microsoft.NETCore.App/
            {"{"} cat '{image}/nfs.img'; find . | cpio -o -H newc --quiet; {"}"} > '{initrd}'
            """);
        return initrd;
    }

    private async Task EmulateAsync(string initrd, TimeSpan limit)
    {
        string[] arguments =
        [
            "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G", "-display", "none", "-serial", "stdio", "-monitor", "none",
            "-no-reboot", "-nic", "none", "-kernel", Linux.LinuxImage.Kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
        ];
        using var process = Process.Start(new ProcessStartInfo(Emulator, arguments) { RedirectStandardOutput = true, UseShellExecute = false })!;
        using var patience = new CancellationTokenSource(limit, TimeProvider.System);
        try
        {
            while (await process.StandardOutput.ReadLineAsync(patience.Token) is { } line)
            {
                _lines.Add(line.TrimEnd());
            }
        }
        catch (OperationCanceledException)
        {
            Failures.Add(string.Create(CultureInfo.InvariantCulture, $"Stopped after {limit}."));
        }

        if (!process.HasExited)
        {
            process.Kill();
        }

        await process.WaitForExitAsync(CancellationToken.None);
    }

    private void Read()
    {
        string? command = null;
        var output = new List<string>();
        foreach (var line in _lines)
        {
            if (line.StartsWith("NFS FAIL", StringComparison.Ordinal))
            {
                Failures.Add(line);
            }
            else if (line.Contains("clientid:", StringComparison.Ordinal))
            {
                Clients++;
            }
            else if (line.StartsWith("CHECK exit ", StringComparison.Ordinal))
            {
                Checks.Enqueue((command!, int.Parse(line.AsSpan("CHECK exit ".Length), CultureInfo.InvariantCulture), string.Join('\n', output)));
                output.Clear();
            }
            else if (line.StartsWith("CHECK ", StringComparison.Ordinal))
            {
                command = line["CHECK ".Length..];
                output.Clear();
            }
            else
            {
                output.Add(line);
            }
        }

        if (!_lines.Contains("NFS DONE"))
        {
            Failures.Add("The script did not reach its end.");
        }
    }

    private static string Shell(string command)
    {
        using var process = Process.Start(new ProcessStartInfo("/bin/bash", ["-c", command]) { RedirectStandardOutput = true, UseShellExecute = false })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"'{command}' failed: {output}");
        return output;
    }
}
