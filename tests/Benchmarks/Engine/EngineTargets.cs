namespace Vitro.Benchmarks.Engine;

/// <summary>For each workload the ratio to QEMU's translator that must not be exceeded, and the one that is aimed at.</summary>
internal static class EngineTargets
{
    private static readonly (double Floor, double Goal) Real = (0.5, 0.33);
    private static readonly (double Floor, double Goal) System = (0.8, 0.5);

    internal static (double Floor, double Goal)? Of(string workload) => workload switch
    {
        "boot" => (0.6, 0.4),
        "memory" => (120, 60),
        "compilation" => (250, 250),
        "translation" => (0.3, 0.3),
        "xz" or "zstd" or "python3" or "sqlite3" or "gcc" or "parallel-xz" => Real,
        _ when workload.StartsWith("openssl-", StringComparison.Ordinal) => Real,
        "syscalls" or "fork-exec" or "pipe-ping-pong" or "page-faults" or "context-switches" => System,
        _ => null,
    };
}
