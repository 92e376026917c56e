using System.Globalization;

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
