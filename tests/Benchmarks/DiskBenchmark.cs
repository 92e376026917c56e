using System.Globalization;
using System.Text.RegularExpressions;
using Spectre.Console;

namespace Vitro.Benchmarks;

/// <summary>
/// Disk rates inside the guest, by fio with direct I/O: 256 MiB in sequence, then 4 KiB blocks at random, on our synthetic
/// SCSI controller and on QEMU's virtio disk, both over a raw file through the host's page cache.
/// </summary>
internal static partial class DiskBenchmark
{
    private const int Runs = 3;
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(10);

    internal static async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        var image = await GuestImage.MakeAsync(cancellationToken);
        List<Dictionary<string, (double Value, string Unit)>> ours = [], peer = [];
        for (var run = 1; run <= Runs; run++)
        {
            AnsiConsole.WriteLine($"disk {run}/{Runs}: Vitro");
            ours.Add(await MeasureAsync(image, image.StartOurs, cancellationToken));
            if (GuestImage.HasPeer)
            {
                AnsiConsole.WriteLine($"disk {run}/{Runs}: QEMU");
                peer.Add(await MeasureAsync(image, image.StartPeer, cancellationToken));
            }
        }

        BenchmarkReport.Publish(
            "disk",
            [
                .. ours[0].Select(entry => new Measure(
                    entry.Key,
                    entry.Value.Unit,
                    MeasureKind.Rate,
                    Values(ours, entry.Key),
                    Values(peer, entry.Key),
                    GuestImage.PeerName + " (virtio)")),
            ]);
        return 0;
    }

    private static List<double> Values(List<Dictionary<string, (double Value, string Unit)>> runs, string name) =>
        [.. runs.Where(run => run.ContainsKey(name)).Select(run => run[name].Value)];

    private static async Task<Dictionary<string, (double Value, string Unit)>> MeasureAsync(
        GuestImage image, Func<string, string, GuestProcess> start, CancellationToken cancellationToken)
    {
        var disk = image.CopyDisk();
        try
        {
            using var guest = start(disk, "vitro.bench=disk");
            await guest.WaitForAsync("VITRO-BENCH done", Limit, cancellationToken);
            return Line().Matches(guest.Output)
                .Where(match => match.Groups["name"].Value != "done")
                .ToDictionary(
                    match => match.Groups["name"].Value,
                    match => (double.Parse(match.Groups["value"].Value, CultureInfo.InvariantCulture), match.Groups["unit"].Value),
                    StringComparer.Ordinal);
        }
        finally
        {
            File.Delete(disk);
        }
    }

    [GeneratedRegex(@"VITRO-BENCH (?<name>[\w-]+) (?<value>[0-9.e+]+) (?<unit>\S+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Line();
}
