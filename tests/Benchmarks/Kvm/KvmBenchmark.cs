using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace Vitro.Benchmarks.Kvm;

/// <summary>
/// The KVM engine against QEMU's on the same KVM, in emulated machines with SVM: exits, boot, memory, disk requests. Their time is
/// the number of instructions executed; disk requests, which do not go with that, cost what the emulator takes of this host's processor.
/// </summary>
internal static class KvmBenchmark
{
    private const string Recipe = "tests/NestedTests/bench";
    private const string PeerName = "qemu-system-x86_64 -accel kvm";

    // Each part has an emulated machine of its own, so that one which comes to no end does not take the other's values along.
    private static readonly (string Name, TimeSpan Limit)[] Parts =
        [("exits", TimeSpan.FromMinutes(10)), ("boot", TimeSpan.FromMinutes(20)), ("disk", TimeSpan.FromMinutes(20))];

    internal static IReadOnlyList<string> AllParts { get; } = [.. Parts.Select(part => part.Name)];

    // The name that the emulated machine tells, what people read, and which way is better.
    private static readonly (string Name, string Text, MeasureKind Kind)[] Rows =
    [
        ("port", "read of a serial port's status", MeasureKind.Cost),
        ("mmio", "load where no device is", MeasureKind.Cost),
        ("interrupt", "interrupt of a serial port, from its cause to its end", MeasureKind.Cost),
        ("boot", "time to shell, 1 processor", MeasureKind.Cost),
        ("memory", "memory beyond the guest's RAM", MeasureKind.Cost),
        ("round-trip", "VMBus against virtio: 4096 reads of a sector, one at a time", MeasureKind.Cost),
        ("read", "4096 random reads of 4 KiB, one at a time", MeasureKind.Cost),
        ("reads", "4096 random reads of 4 KiB, 32 at a time", MeasureKind.Cost),
    ];

    internal static async Task<int> RunAsync(BenchmarkOptions options, CancellationToken cancellationToken)
    {
        var told = new List<string[]>();
        var isWhole = true;
        foreach (var (part, limit) in Parts.Where(part => options.Parts.Contains(part.Name)))
        {
            isWhole &= await RunAsync(part, limit, told, cancellationToken);
        }

        BenchmarkReport.Publish("kvm", [.. Rows.Select(row => Make(told, row.Name, row.Text, row.Kind)).OfType<Measure>()]);
        return isWhole ? 0 : 1;
    }

    private static async Task<bool> RunAsync(string part, TimeSpan limit, List<string[]> told, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        using var machine = Process.Start(new ProcessStartInfo(Recipe, [part]) { RedirectStandardOutput = true, UseShellExecute = false })!;
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(limit);
        var isWhole = false;
        var begun = 0.0;
        try
        {
            while (await machine.StandardOutput.ReadLineAsync(patience.Token) is { } line)
            {
                var words = line.TrimEnd().Split(' ');
                if (words[0] == "BEGIN")
                {
                    begun = ProcessorSeconds(machine.Id);
                }
                else if (words is ["MEASURE", var name, _, var side, _])
                {
                    told.Add(part == "disk"
                        ? ["MEASURE", name, "s of processor", side, (ProcessorSeconds(machine.Id) - begun).ToString(CultureInfo.InvariantCulture)]
                        : words);
                }

                // The rest is the emulated machine's firmware and kernel.
                if (words[0] is "MEASURE" or "MISSING" or "CASE" or "CASES")
                {
                    AnsiConsole.WriteLine($"{Stopwatch.GetElapsedTime(started):mm\\:ss} {line.TrimEnd()}");
                    if (part == "disk" && words[0] == "MEASURE")
                    {
                        AnsiConsole.WriteLine($"      {told[^1][4]} s of processor");
                    }

                    isWhole |= line.StartsWith("CASES DONE failed 0", StringComparison.Ordinal);
                }
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            AnsiConsole.WriteLine($"'{part}' did not end in {limit.TotalMinutes:0} minutes.");
        }
        finally
        {
            if (!machine.HasExited)
            {
                machine.Kill(entireProcessTree: true);
            }
        }

        return isWhole;
    }

    // The emulator is the only child that the recipe has by then.
    private static double ProcessorSeconds(int recipe)
    {
        var child = int.Parse(File.ReadAllText($"/proc/{recipe}/task/{recipe}/children"), CultureInfo.InvariantCulture);
        using var emulator = Process.GetProcessById(child);
        return emulator.TotalProcessorTime.TotalSeconds;
    }

    private static Measure? Make(List<string[]> told, string name, string text, MeasureKind kind)
    {
        var mine = told.Where(words => words[1] == name).ToList();
        List<double> ours = Values(mine, "ours"), peer = Values(mine, "peer");
        return ours.Count == 0 && peer.Count == 0 ? null : new Measure(text, mine[0][2], kind, ours, peer, PeerName);
    }

    private static List<double> Values(List<string[]> told, string side) =>
        [.. told.Where(words => words[3] == side).Select(words => double.Parse(words[4], CultureInfo.InvariantCulture))];
}
