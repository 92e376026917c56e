using System.Diagnostics;
using Spectre.Console;

namespace Vitro.Benchmarks.Engine;

/// <summary>
/// The software engine against QEMU's translator: booting, our C programs (also against the host itself), real programs,
/// work for the kernel, and four processors at once. Both run the same kernel and disk in turn; equal programs must tell
/// equal sums.
/// </summary>
internal static class EngineBenchmark
{
    internal static readonly IReadOnlyList<string> AllParts = ["boot", "programs", "system", "real", "parallel"];

    private const string HostName = "host";
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(20);

    private static readonly string[] Programs =
        ["sieve", "sha256", "quicksort", "strings", "hashtable", "recursion", "list", "bytecode", "matrix"];

    internal static async Task<int> RunAsync(BenchmarkOptions options, CancellationToken cancellationToken)
    {
        var measures = options.Parts.Contains("boot") ? await BootBenchmark.MeasureAsync(options.Rounds, cancellationToken) : [];
        string[] serial = [.. options.Parts.Where(part => part is "programs" or "system" or "real")];
        if (serial.Length > 0)
        {
            measures.AddRange(await MeasureAsync(serial, 1, options.Rounds, cancellationToken));
        }

        if (options.Parts.Contains("parallel"))
        {
            measures.AddRange(await MeasureAsync(["parallel"], 4, options.Rounds, cancellationToken));
        }

        BenchmarkReport.Publish("engine", measures);
        return 0;
    }

    private static async Task<List<Measure>> MeasureAsync(string[] workloads, int processors, int rounds, CancellationToken cancellationToken)
    {
        var image = await GuestImage.MakeAsync(cancellationToken);
        var folder = await GuestImage.MakeAsync("tests/Workloads/build", cancellationToken);
        List<Dictionary<string, WorkloadSample>> ours = [], peer = [], host = [];
        for (var round = 1; round <= rounds; round++)
        {
            ours.Add(await RunGuestAsync(folder, workloads, (disk, words) => image.StartOurs(disk, words, processors), cancellationToken));
            Show($"{round}/{rounds} Vitro", ours[^1]);
            if (GuestImage.HasPeer)
            {
                peer.Add(await RunGuestAsync(folder, workloads, (disk, words) => image.StartPeer(disk, words, processors), cancellationToken));
                Show($"{round}/{rounds} QEMU", peer[^1]);
            }

            if (workloads.Contains("programs"))
            {
                host.Add(await RunHostAsync(folder, cancellationToken));
                Show($"{round}/{rounds} host", host[^1]);
            }
        }

        CheckSums([.. ours, .. peer, .. host]);
        List<Measure> measures = [.. ours[0].Keys.Select(name => Compare(name, ours, peer))];
        if (workloads.Contains("programs"))
        {
            measures.AddRange(Programs.Select(name => Against(name + " against the host", [name], ours, host, HostName, null)));
            measures.Add(Against("nine programs, geometric mean", Programs, ours, peer, GuestImage.PeerName, (0.33, 0.25)));
            measures.Add(Against("nine programs against the host, geometric mean", Programs, ours, host, HostName, (2.3, 1.9)));
        }

        return measures;
    }

    private static Measure Compare(string name, List<Dictionary<string, WorkloadSample>> ours, List<Dictionary<string, WorkloadSample>> peer)
    {
        var sample = ours[0][name];
        if (!sample.IsRate)
        {
            return Against(name, [name], ours, peer, GuestImage.PeerName, EngineTargets.Of(name));
        }

        return new Measure(name, sample.Unit, MeasureKind.Rate, Values(ours), Values(peer), GuestImage.PeerName)
        {
            Target = EngineTargets.Of(name),
            ProcessorRatio = ProcessorRatio([name], ours, peer),
        };

        List<double> Values(List<Dictionary<string, WorkloadSample>> runs) => [.. runs.Select(run => run[name].Value)];
    }

    private static Measure Against(
        string title,
        string[] names,
        List<Dictionary<string, WorkloadSample>> ours,
        List<Dictionary<string, WorkloadSample>> peer,
        string peerName,
        (double Floor, double Goal)? target)
    {
        return new Measure(title, "s", MeasureKind.Cost, Means(ours), Means(peer), peerName)
        {
            Target = target,
            ProcessorRatio = names[0].StartsWith("parallel", StringComparison.Ordinal) ? null : ProcessorRatio(names, ours, peer),
        };

        List<double> Means(List<Dictionary<string, WorkloadSample>> runs) => [.. runs.Select(run => GeometricMean(names.Select(name => run[name].Value)))];
    }

    private static double? ProcessorRatio(string[] names, List<Dictionary<string, WorkloadSample>> ours, List<Dictionary<string, WorkloadSample>> peer) =>
        peer.Count == 0 ? null : Cost(ours, names) / Cost(peer, names);

    private static double Cost(List<Dictionary<string, WorkloadSample>> runs, string[] names) =>
        Measure.Median([.. runs.Select(run => GeometricMean(names.Select(name => run[name].ProcessorCost)))]);

    private static double GeometricMean(IEnumerable<double> values) => Math.Exp(values.Average(Math.Log));

    private static async Task<Dictionary<string, WorkloadSample>> RunGuestAsync(
        string folder, string[] workloads, Func<string, string, GuestProcess> start, CancellationToken cancellationToken)
    {
        var disk = GuestImage.CopyDisk(Path.Combine(folder, "workloads.img"));
        try
        {
            using var guest = start(disk, "workload=" + string.Join(',', workloads));
            await guest.WaitForAsync("VITRO-BENCH-DONE", Limit, cancellationToken);
            return WorkloadSample.ReadGuest(guest);
        }
        finally
        {
            File.Delete(disk);
        }
    }

    private static async Task<Dictionary<string, WorkloadSample>> RunHostAsync(string folder, CancellationToken cancellationToken)
    {
        var start = new ProcessStartInfo(Path.Combine(folder, "workload"), Programs) { RedirectStandardOutput = true, UseShellExecute = false };
        using var process = Process.Start(start) ?? throw new InvalidOperationException("The workload program did not start.");
        return WorkloadSample.ReadHost(await process.StandardOutput.ReadToEndAsync(cancellationToken));
    }

    /// <exception cref="InvalidOperationException">A program computed something else on one of the machines.</exception>
    private static void CheckSums(List<Dictionary<string, WorkloadSample>> runs)
    {
        foreach (var group in runs.SelectMany(run => run).GroupBy(entry => entry.Key, StringComparer.Ordinal))
        {
            string[] sums = [.. group.Select(entry => entry.Value.Sum).Distinct(StringComparer.Ordinal)];
            if (sums.Length > 1)
            {
                throw new InvalidOperationException($"{group.Key} computed different sums: {string.Join(", ", sums)}.");
            }
        }
    }

    private static void Show(string title, Dictionary<string, WorkloadSample> samples) => AnsiConsole.WriteLine(
        $"{title}: " + string.Join(", ", samples.Select(entry => $"{entry.Key} {entry.Value.Value:0.###} {entry.Value.Unit}")));
}
