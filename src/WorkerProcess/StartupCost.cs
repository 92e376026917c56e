using System.Diagnostics;
using System.Runtime;
using Vitro.Foundation;

namespace Vitro.WorkerProcess;

/// <summary>What the process had spent when something of interest happened to the machine.</summary>
/// <param name="Elapsed">Time since the process began; exact to 10 ms, as the kernel keeps its beginning.</param>
/// <param name="Compiling">Time in the just-in-time compiler, all threads.</param>
/// <param name="Methods">Methods that it compiled.</param>
internal sealed record StartupCost(TimeSpan Elapsed, TimeSpan Compiling, long Methods) : IInspectable
{
    internal static StartupCost Now()
    {
        using var process = Process.GetCurrentProcess();
        return new StartupCost(
            TimeProvider.System.GetUtcNow() - new DateTimeOffset(process.StartTime), JitInfo.GetCompilationTime(), JitInfo.GetCompiledMethodCount());
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node) => node
        .Value("milliseconds", (long)Elapsed.TotalMilliseconds)
        .Value("compileMilliseconds", (long)Compiling.TotalMilliseconds)
        .Value("compiledMethods", Methods);
}
