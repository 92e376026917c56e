using System.Diagnostics;
using Vitro.Configuration;

namespace Vitro.Benchmarks;

/// <summary>The guest image of the recipe under guests/, and the command lines that boot it here and on QEMU.</summary>
internal sealed class GuestImage
{
    internal const string PeerName = "qemu-system-x86_64 -accel tcg";
    private const string Peer = "qemu-system-x86_64";
    private const string Ours = "src/Cli/bin/Release/net10.0/vitro";
    private const int MemoryMiB = 512;
    private readonly string _folder;

    private GuestImage(string folder) => _folder = folder;

    internal static long MemoryBytes => (long)MemoryMiB << 20;

    /// <summary>True when the peer is installed; measures stand alone otherwise.</summary>
    internal static bool HasPeer => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(folder => File.Exists(Path.Combine(folder, Peer)));

    internal static async Task<GuestImage> MakeAsync(CancellationToken cancellationToken) =>
        new(await MakeAsync("guests/build", cancellationToken));

    /// <summary>Runs a recipe, which prints the folder that holds what it made as its last line.</summary>
    internal static async Task<string> MakeAsync(string recipe, CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo(recipe) { RedirectStandardOutput = true, UseShellExecute = false };
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{recipe} did not start.");
        var output = await process.StandardOutput.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        return process.ExitCode == 0
            ? output.Trim().Split('\n')[^1]
            : throw new InvalidOperationException($"{recipe} failed.");
    }

    /// <summary>A disk with the image's content for one run, deleted by the caller.</summary>
    internal string CopyDisk() => CopyDisk(Path.Combine(_folder, "root.img"));

    internal static string CopyDisk(string disk)
    {
        var copy = Path.Combine(Path.GetTempPath(), $"vitro-bench-{Guid.NewGuid():N}.img");
        using var process = Process.Start("cp", ["--sparse=always", disk, copy]);
        process.WaitForExit();
        return process.ExitCode == 0 ? copy : throw new InvalidOperationException("The guest's disk could not be copied.");
    }

    /// <summary>The machine of <see cref="StartOurs"/>, for one in this process.</summary>
    internal VirtualMachineDefinition Define(string disk) => new()
    {
        Name = $"bench-{Environment.ProcessId}",
        MemoryBytes = MemoryBytes,
        Engine = EngineChoice.Software,
        Boot = new LinuxBootDefinition
        {
            Kernel = Path.Combine(_folder, "vmlinuz"),
            Initrd = [Path.Combine(_folder, "initrd.img")],
            CommandLine = "console=ttyS0 quiet",
        },
        Disks = [new DiskDefinition(disk)],
    };

    internal GuestProcess StartOurs(string disk, string words) => StartOurs(disk, words, 1);

    internal GuestProcess StartPeer(string disk, string words) => StartPeer(disk, words, 1);

    internal GuestProcess StartOurs(string disk, string words, int processors) => GuestProcess.Start(
        Ours,
        [
            "run", "--name", $"bench-{Environment.ProcessId}", "--kernel", Path.Combine(_folder, "vmlinuz"), "--initrd",
            Path.Combine(_folder, "initrd.img"), "--append", "console=ttyS0 quiet " + words, "--disk", disk, "--memory", $"{MemoryMiB}M",
            "--processors", $"{processors}", "--engine", "software", "--serial", "stdio", "--statistics",
        ]);

    internal GuestProcess StartPeer(string disk, string words, int processors) => GuestProcess.Start(
        Peer,
        [
            "-accel", processors > 1 ? "tcg,thread=multi" : "tcg", "-smp", $"{processors}", "-m", $"{MemoryMiB}", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-net", "none",
            "-kernel", Path.Combine(_folder, "vmlinuz"), "-initrd", Path.Combine(_folder, "initrd.img"), "-append",
            "console=ttyS0 quiet " + words, "-drive", $"file={disk},format=raw,if=virtio,cache=writeback",
        ]);
}
