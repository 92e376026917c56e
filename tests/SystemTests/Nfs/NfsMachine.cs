using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Vitro.Configuration;
using Vitro.SystemTests.Linux;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.Nfs;

/// <summary>
/// A machine under the stock Debian kernel, whose NFS server two network namespaces mount as two hosts; vitro and the .NET
/// runtime of these tests are in its initial RAM disk.
/// </summary>
internal sealed class NfsMachine
{
    private readonly List<string> _lines = [];

    /// <summary>What vitro was told, how it ended and what it said, in order.</summary>
    internal Queue<(string Command, int ExitCode, string Output)> Checks { get; } = [];

    /// <summary>What did not work in the machine itself.</summary>
    internal List<string> Failures { get; } = [];

    /// <summary>NFS clients the server knew.</summary>
    internal int Clients { get; private set; }

    internal string Console => string.Join('\n', _lines);

    internal static async Task<NfsMachine> RunAsync(int processors, TimeSpan limit)
    {
        var machine = new NfsMachine();
        var folder = Path.Combine(Path.GetTempPath(), $"vitro-nfs-{Guid.NewGuid():N}");
        Directory.CreateDirectory(folder);
        try
        {
            await machine.RunAsync(MakeInitrd(folder), processors, limit);
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

    private async Task RunAsync(string initrd, int processors, TimeSpan limit)
    {
        var definition = LinuxImage.DefineWithoutDisk(processors) with
        {
            MemoryBytes = 1 << 30,
            Boot = new LinuxBootDefinition { Kernel = LinuxImage.Kernel, Initrd = [initrd], CommandLine = "console=ttyS0 quiet panic=-1" },
        };
        await using var machine = RunningMachine.Start(definition);
        await machine.ExpectAsync("NFS DONE", limit);
        Assert.Equal(MachineEndKind.PowerOff, (await machine.EndAsync(limit)).Kind);
        _lines.AddRange(machine.Serial.Text.Split('\n').Select(line => line.TrimEnd()));
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
