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
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(10);

    internal static async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        var image = await GuestImage.MakeAsync(cancellationToken);
        AnsiConsole.WriteLine("disk: Vitro");
        var ours = await MeasureAsync(image, image.StartOurs, cancellationToken);
        Dictionary<string, (double Value, string Unit)> peer = [];
        if (GuestImage.HasPeer)
        {
            AnsiConsole.WriteLine("disk: QEMU");
            peer = await MeasureAsync(image, image.StartPeer, cancellationToken);
        }

        BenchmarkReport.Publish(
            "disk",
            [
                .. ours.Select(entry => new Measure(
                    entry.Key,
                    entry.Value.Unit,
                    MeasureKind.Rate,
                    [entry.Value.Value],
                    peer.TryGetValue(entry.Key, out var other) ? [other.Value] : [],
                    GuestImage.PeerName + " (virtio)")),
            ]);
        return 0;
    }

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
