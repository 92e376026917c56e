using System.Globalization;
using Vitro.Configuration;
using Vitro.Platform;

namespace Vitro.WorkerProcess;

/// <summary>How much memory this host can give to a machine.</summary>
public static class HostMemory
{
    /// <summary>Bytes available now: the kernel's estimate, bounded by the control group's limit where there is one.</summary>
    public static long Available()
    {
        var available = MemInfo("MemAvailable:");
        try
        {
            if (File.Exists("/sys/fs/cgroup/memory.max")
                && long.TryParse(File.ReadAllText("/sys/fs/cgroup/memory.max").Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var limit)
                && long.TryParse(File.ReadAllText("/sys/fs/cgroup/memory.current").Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var used))
            {
                available = Math.Min(available, Math.Max(0, limit - used));
            }
        }
        catch (IOException)
        {
            // No readable control group: the kernel's estimate stands.
        }

        return available;
    }

    internal static MemoryPages Pages(MemoryBacking backing) => backing switch
    {
        MemoryBacking.LargePages => MemoryPages.Large,
        MemoryBacking.Locked => MemoryPages.Locked,
        _ => MemoryPages.Ordinary,
    };

    /// <summary>What it means that the host does not give a machine its memory, with the cure.</summary>
    internal static DefinitionException Explain(VirtualMachineDefinition definition, PlatformException error)
    {
        var large = (ulong)definition.MemoryBytes / AnonymousMemory.LargePageSize;
        return definition.MemoryBacking switch
        {
            MemoryBacking.LargePages => new DefinitionException(
                "--memory-backing",
                $"{error.Message}: the machine needs {large} large pages of 2 MiB and the host has {FreeLargePages()} free",
                $"Reserve them as root ('sysctl vm.nr_hugepages={large}', and those of other machines), or leave the option out"),
            MemoryBacking.Locked => new DefinitionException(
                "--memory-backing",
                $"{error.Message}: {ByteSize.Format(definition.MemoryBytes)} cannot be locked",
                "Raise the limit of locked memory ('ulimit -l', or LimitMEMLOCK= of a service), free memory on the host, or leave the option out"),
            _ => new DefinitionException("--memory", error.Message, "Give the machine less, or free memory on the host"),
        };
    }

    private static long FreeLargePages() => MemInfo("HugePages_Free:") is var free && free == long.MaxValue ? 0 : free / 1024;

    private static long MemInfo(string field)
    {
        foreach (var line in File.ReadLines("/proc/meminfo"))
        {
            if (line.StartsWith(field, StringComparison.Ordinal))
            {
                return long.Parse(line.AsSpan(field.Length).Trim().ToString().Split(' ')[0], CultureInfo.InvariantCulture) * 1024;
            }
        }

        return long.MaxValue;
    }
}
