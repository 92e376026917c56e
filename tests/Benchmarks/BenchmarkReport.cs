using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace Vitro.Benchmarks;

/// <summary>Which way a measure is better.</summary>
internal enum MeasureKind
{
    /// <summary>Times and sizes: smaller is better, the ratio is ours to the peer's.</summary>
    Cost,

    /// <summary>Rates: greater is better, the ratio is the peer's to ours.</summary>
    Rate,
}

/// <summary>One measure: the medians of our runs and of the peer's, when there is one.</summary>
internal sealed record Measure(string Name, string Unit, MeasureKind Kind, IReadOnlyList<double> Ours, IReadOnlyList<double> Peer, string? PeerName)
{
    internal double OursMedian => Median(Ours);

    internal double? PeerMedian => Peer.Count == 0 ? null : Median(Peer);

    /// <summary>Below 1 is better than the peer, whatever the kind.</summary>
    internal double? Ratio => PeerMedian is { } peer ? Kind == MeasureKind.Cost ? OursMedian / peer : peer / OursMedian : null;

    private static double Median(IReadOnlyList<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length == 0 ? double.NaN : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}

/// <summary>Shows measures as a table and keeps them as artifacts/bench/NAME.json.</summary>
internal static class BenchmarkReport
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    internal static void Publish(string name, IReadOnlyList<Measure> measures)
    {
        var table = new Table().Title(name).AddColumns("measure", "unit", "Vitro", "peer", "ratio", "runs");
        var json = new JsonArray();
        foreach (var measure in measures)
        {
            table.AddRow(
                measure.Name,
                measure.Unit,
                Format(measure.OursMedian),
                measure.PeerMedian is { } peer ? $"{Format(peer)} ({measure.PeerName})" : "-",
                measure.Ratio is { } ratio ? Format(ratio) : "-",
                measure.Ours.Count.ToString(CultureInfo.InvariantCulture));
            json.Add(new JsonObject
            {
                ["measure"] = measure.Name,
                ["unit"] = measure.Unit,
                ["ours"] = Number(measure.OursMedian),
                ["peer"] = Number(measure.PeerMedian),
                ["peerName"] = measure.PeerName,
                ["ratio"] = Number(measure.Ratio),
                ["runs"] = measure.Ours.Count,
            });
        }

        AnsiConsole.Write(table);
        AnsiConsole.WriteLine("Ratios below 1 are better than the peer.");
        var folder = Path.Combine("artifacts", "bench");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, name + ".json"), json.ToJsonString(Indented) + "\n");
    }

    private static JsonValue? Number(double? value) =>
        value is { } number && double.IsFinite(number) ? JsonValue.Create(Math.Round(number, 4)) : null;

    private static string Format(double value) => value.ToString(value >= 100 ? "N0" : "0.##", CultureInfo.InvariantCulture);
}
