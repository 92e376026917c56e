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
    /// <summary>The ratio that must not be exceeded, and the one that is aimed at; null where none is set.</summary>
    internal (double Floor, double Goal)? Target { get; init; }

    /// <summary>The ratio of processor time, which a busy host does not stretch as it does time; null where it was not taken.</summary>
    internal double? ProcessorRatio { get; init; }

    /// <summary>What the target is compared with.</summary>
    internal double? Judged => ProcessorRatio ?? Ratio ?? (Peer.Count == 0 ? OursMedian : null);

    internal double OursMedian => Median(Ours);

    internal double? PeerMedian => Peer.Count == 0 ? null : Median(Peer);

    /// <summary>Below 1 is better than the peer, whatever the kind.</summary>
    internal double? Ratio => PeerMedian is { } peer ? Kind == MeasureKind.Cost ? OursMedian / peer : peer / OursMedian : null;

    internal static double Median(IReadOnlyList<double> values)
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
        var targets = measures.Any(measure => measure.Target is not null);
        if (targets)
        {
            table.AddColumns("CPU ratio", "floor", "goal", "holds");
        }

        var json = new JsonArray();
        foreach (var measure in measures)
        {
            List<string> row =
            [
                measure.Name,
                measure.Unit,
                Format(measure.OursMedian),
                measure.PeerMedian is { } peer ? $"{Format(peer)} ({Short(measure.PeerName)})" : "-",
                measure.Ratio is { } ratio ? Format(ratio) : "-",
                measure.Ours.Count.ToString(CultureInfo.InvariantCulture),
            ];
            if (targets)
            {
                row.Add(measure.ProcessorRatio is { } processor ? Format(processor) : "-");
                row.Add(measure.Target is { } floor ? Format(floor.Floor) : "-");
                row.Add(measure.Target is { } goal ? Format(goal.Goal) : "-");
                row.Add(Verdict(measure));
            }

            table.AddRow([.. row]);
            json.Add(new JsonObject
            {
                ["measure"] = measure.Name,
                ["unit"] = measure.Unit,
                ["ours"] = Number(measure.OursMedian),
                ["peer"] = Number(measure.PeerMedian),
                ["peerName"] = measure.PeerName,
                ["ratio"] = Number(measure.Ratio),
                ["runs"] = measure.Ours.Count,
                ["processorRatio"] = Number(measure.ProcessorRatio),
                ["floor"] = Number(measure.Target?.Floor),
                ["goal"] = Number(measure.Target?.Goal),
            });
        }

        // A pipe has no width of its own.
        AnsiConsole.Profile.Width = Math.Max(AnsiConsole.Profile.Width, 140);
        AnsiConsole.Write(table);
        AnsiConsole.WriteLine("Ratios below 1 are better than the peer." + (targets ? " Of the two ratios that of CPU time is held against floor and goal." : ""));
        var folder = Path.Combine("artifacts", "bench");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, name + ".json"), json.ToJsonString(Indented) + "\n");
    }

    private static string Short(string? peer) => peer is null ? "" : peer.Replace("qemu-system-x86_64 -accel tcg", "TCG", StringComparison.Ordinal);

    private static string Verdict(Measure measure) => (measure.Target, measure.Judged) switch
    {
        ({ } target, { } judged) => judged <= target.Goal ? "goal" : judged <= target.Floor ? "floor" : "no",
        _ => "-",
    };

    private static JsonValue? Number(double? value) =>
        value is { } number && double.IsFinite(number) ? JsonValue.Create(Math.Round(number, 4)) : null;

    private static string Format(double value) => value.ToString(value >= 100 ? "N0" : "0.##", CultureInfo.InvariantCulture);
}
