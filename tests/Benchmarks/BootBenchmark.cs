using System.Globalization;
using System.Text.RegularExpressions;
using Spectre.Console;
using Vitro.Benchmarks.Engine;

namespace Vitro.Benchmarks;

/// <summary>
/// Time from the start of the program to the guest's shell: the same kernel, initial RAM disk and disk content here and on
/// QEMU's translator, in turn. Also our memory beyond the guest's, what compiling and translating cost, in the boot and by itself, and the interpreter's instructions a second.
/// </summary>
internal static partial class BootBenchmark
{
    private const string Marker = "VITRO-SHELL";
    private const string Words = "vitro.bench=boot";
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    internal static async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        BenchmarkReport.Publish("boot", await MeasureAsync(3, cancellationToken));
        return 0;
    }

    internal static async Task<List<Measure>> MeasureAsync(int runs, CancellationToken cancellationToken)
    {
        var image = await GuestImage.MakeAsync(cancellationToken);
        List<double> ours = [], peer = [], rate = [], memory = [], oursProcessor = [], peerProcessor = [], compiling = [], translating = [];
        for (var run = 1; run <= runs; run++)
        {
            await MeasureOursAsync(image, ours, oursProcessor, rate, memory, compiling, translating, cancellationToken);
            AnsiConsole.WriteLine($"boot {run}/{runs}: Vitro {ours[^1]:0.00} s");
            if (GuestImage.HasPeer)
            {
                var disk = image.CopyDisk();
                try
                {
                    using var guest = image.StartPeer(disk, Words);
                    await guest.WaitForAsync(Marker, Limit, cancellationToken);
                    var shell = guest.MomentAt(guest.Output.IndexOf(Marker, StringComparison.Ordinal));
                    peer.Add(shell.Seconds);
                    peerProcessor.Add(shell.ProcessorSeconds);
                    AnsiConsole.WriteLine($"boot {run}/{runs}: QEMU {peer[^1]:0.00} s");
                }
                finally
                {
                    File.Delete(disk);
                }
            }
        }

        List<Measure> measures =
        [
            new Measure("time to shell, 1 processor", "s", MeasureKind.Cost, ours, peer, GuestImage.PeerName)
            {
                Target = EngineTargets.Of("boot"),
                ProcessorRatio = peer.Count == 0 ? null : Measure.Median(oursProcessor) / Measure.Median(peerProcessor),
            },
            new Measure("memory beyond the guest's RAM", "MiB", MeasureKind.Cost, memory, [], null) { Target = EngineTargets.Of("memory") },
            new Measure("just-in-time compilation up to the first instruction", "ms", MeasureKind.Cost, compiling, [], null)
            {
                Target = EngineTargets.Of("compilation"),
            },
            new Measure("decoding and translation by itself, of each instruction", "us", MeasureKind.Cost, Translating(), [], null)
            {
                Target = EngineTargets.Of("translation"),
            },
            new Measure("the same during the boot, beside the guest's own work", "us", MeasureKind.Cost, translating, [], null),
        ];
        if (rate.Count > 0)
        {
            measures.Add(new Measure("instructions during the boot", "million/s", MeasureKind.Rate, rate, [], null));
        }

        return measures;
    }

    private static List<double> Translating() => [.. TranslationBenchmark.Measure().Select(stretch => stretch.Translation)];

    private static async Task MeasureOursAsync(
        GuestImage image,
        List<double> times,
        List<double> processor,
        List<double> rates,
        List<double> memory,
        List<double> compiling,
        List<double> translating,
        CancellationToken cancellationToken)
    {
        var disk = image.CopyDisk();
        try
        {
            using var guest = image.StartOurs(disk, Words);
            await guest.WaitForAsync(Marker, Limit, cancellationToken);
            var shell = guest.MomentAt(guest.Output.IndexOf(Marker, StringComparison.Ordinal));
            times.Add(shell.Seconds);
            processor.Add(shell.ProcessorSeconds);
            memory.Add(OwnMemory(guest.Id));
            await guest.SendAsync("poweroff -f\n");
            if (!await guest.WaitForExitAsync(TimeSpan.FromSeconds(60), cancellationToken))
            {
                return;
            }

            // Translated code does not count them.
            if (Instructions().Match(guest.Output) is { Success: true } match)
            {
                // Powering off is short beside the boot; moments in which the guest waits make this a lower bound.
                rates.Add(Number(match) / 1e6 / shell.Seconds);
            }

            // What the processors' threads compiled later on is counted too: some of it stands before the first instruction.
            compiling.Add(Compilation().Matches(guest.Output).Sum(Number));
            if (Preparation().Match(guest.Output) is { Success: true } preparation
                && Translated().Match(guest.Output) is { Success: true } translated)
            {
                translating.Add(Number(preparation) / Number(translated));
            }
        }
        finally
        {
            File.Delete(disk);
        }
    }

    private static double Number(Match match) => double.Parse(match.Groups["count"].Value, CultureInfo.InvariantCulture);

    /// <summary>
    /// MiB of anonymous memory and memory files, as translated code is in, but for the guest's RAM, which is the one mapping of its size. Each page
    /// counts once, however often it is mapped.
    /// </summary>
    private static double OwnMemory(int process)
    {
        var kibibytes = 0.0;
        var isGuest = false;
        var isMemoryFile = false;
        foreach (Match match in MappingOrSize().Matches(File.ReadAllText($"/proc/{process}/smaps")))
        {
            if (match.Groups["start"].Success)
            {
                isGuest = Address(match.Groups["end"]) - Address(match.Groups["start"]) == GuestImage.MemoryBytes;
                isMemoryFile = match.Groups["file"].ValueSpan.StartsWith("/memfd:");
            }
            else if (!isGuest && match.Groups["kind"].ValueSpan.SequenceEqual(isMemoryFile ? "Pss" : "Anonymous"))
            {
                kibibytes += Number(match);
            }
        }

        return kibibytes / 1024;
    }

    private static long Address(Group digits) => long.Parse(digits.ValueSpan, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    [GeneratedRegex("\"counters\":{\"instructions\":\"?(?<count>[0-9]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Instructions();

    [GeneratedRegex("\"(processorCompile|compile)Milliseconds\":\"?(?<count>[0-9]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Compilation();

    [GeneratedRegex("\"translation_us\":\"?(?<count>[0-9]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Preparation();

    [GeneratedRegex("\"translated_instructions\":\"?(?<count>[0-9]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Translated();

    [GeneratedRegex(
        "^((?<start>[0-9a-f]+)-(?<end>[0-9a-f]+) \\S+ \\S+ \\S+ \\S+ *(?<file>.*)|(?<kind>Anonymous|Pss):\\s+(?<count>[0-9]+))",
        RegexOptions.ExplicitCapture | RegexOptions.Multiline, 1000)]
    private static partial Regex MappingOrSize();
}
