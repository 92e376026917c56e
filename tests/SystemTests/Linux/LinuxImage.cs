using System.Diagnostics;
using Vitro.Configuration;
using Vitro.Storage;
using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>The guest image of the recipe under guests/: a stock Debian kernel, an initial RAM disk and a root disk.</summary>
internal static class LinuxImage
{
    private static readonly Lazy<string?> Folder = new(Build);

    internal static string Kernel => File("vmlinuz");

    internal static string Initrd => File("initrd.img");

    /// <summary>The root disk as it was made; not to be written.</summary>
    internal static string RootDiskPath => File("root.img");

    /// <summary>A machine whose shell is on the initial RAM disk.</summary>
    internal static VirtualMachineDefinition DefineWithoutDisk(int processors) => new()
    {
        Name = "linux-" + Guid.NewGuid().ToString("N"),
        MemoryBytes = 256 << 20,
        ProcessorCount = processors,
        Engine = EngineChoice.Software,
        Boot = new LinuxBootDefinition { Kernel = Kernel, Initrd = [Initrd], CommandLine = "console=ttyS0 quiet panic=-1 vitro.shell=initrd" },
    };

    /// <summary>A machine that runs from its root disk.</summary>
    internal static VirtualMachineDefinition Define(int processors, RootDisk disk) => new()
    {
        Name = "linux-" + Guid.NewGuid().ToString("N"),
        MemoryBytes = 512 << 20,
        ProcessorCount = processors,
        Engine = EngineChoice.Software,
        Boot = new LinuxBootDefinition { Kernel = Kernel, Initrd = [Initrd], CommandLine = "console=ttyS0 quiet panic=-1" },
        Disks = [new DiskDefinition(disk.Path)],
    };

    /// <summary>A dynamic VHDX with the root disk's content that is deleted with the test.</summary>
    internal static RootDisk CopyRootDisk()
    {
        var copy = Path.Combine(Path.GetTempPath(), $"vitro-test-{Guid.NewGuid():N}.vhdx");
        DiskConversion.Convert(File("root.img"), copy, new DiskCreateOptions { SkipSync = true });
        return new RootDisk(copy);
    }

    /// <summary>The same as a raw file, for those who look into it.</summary>
    internal static RootDisk CopyRawRootDisk() => CopyDisk(File("root.img"));

    internal static RootDisk CopyDisk(string disk)
    {
        var copy = Path.Combine(Path.GetTempPath(), $"vitro-test-{Guid.NewGuid():N}.img");
        using var process = Process.Start("cp", ["--sparse=always", disk, copy]);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return new RootDisk(copy);
    }

    private static string File(string name)
    {
        Assert.SkipWhen(Folder.Value is null, "The guest image cannot be made on this host; guests/build says why.");
        return Path.Combine(Folder.Value!, name);
    }

    private static string? Build()
    {
        // The recipe tells its progress on standard error, which is the tests' own.
        var start = new ProcessStartInfo(Path.Combine(SourceTree.Root, "guests", "build"))
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output.Trim().Split('\n')[^1] : null;
    }

    internal sealed record RootDisk(string Path) : IDisposable
    {
        public void Dispose() => System.IO.File.Delete(Path);
    }
}
