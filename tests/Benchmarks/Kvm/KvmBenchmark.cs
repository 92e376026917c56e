using System.Globalization;

namespace Vitro.Benchmarks.Kvm;

/// <summary>
/// The KVM engine against QEMU's on the same KVM, in an emulated machine with SVM whose time is the number of instructions executed:
/// exits, boot, memory, disk requests.
/// </summary>
internal static class KvmBenchmark
{
    private const string Recipe = "tests/NestedTests/bench";
    private const string PeerName = "qemu-system-x86_64 -accel kvm";
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(40);

    // The name that the emulated machine tells, what people read, and which way is better.
    private static readonly (string Name, string Text, MeasureKind Kind)[] Rows =
    [
        ("port", "read of a serial port's status", MeasureKind.Cost),
        ("mmio", "load where no device is", MeasureKind.Cost),
        ("interrupt", "interrupt of a serial port, from its cause to its end", MeasureKind.Cost),
        ("boot", "time to shell, 1 processor", MeasureKind.Cost),
        ("memory", "memory beyond the guest's RAM", MeasureKind.Cost),
        ("round-trip", "4 KiB random reads, one at a time", MeasureKind.Rate),
        ("reads", "4 KiB random reads, 32 at a time", MeasureKind.Rate),
    ];

    internal static async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        using var machine = GuestProcess.Start(Recipe, []);
        await machine.WaitForAsync("CASES DONE", Limit, cancellationToken);
        var told = machine.Output.Split('\n').Select(line => line.TrimEnd().Split(' ')).Where(words => words is ["MEASURE", _, _, _, _]).ToList();
        BenchmarkReport.Publish("kvm", [.. Rows.Select(row => Make(told, row.Name, row.Text, row.Kind))]);
        return machine.Output.Contains("CASES DONE failed 0", StringComparison.Ordinal) ? 0 : 1;
    }

    private static Measure Make(List<string[]> told, string name, string text, MeasureKind kind)
    {
        var mine = told.Where(words => words[1] == name).ToList();
        return new Measure(text, mine.Count == 0 ? "" : mine[0][2], kind, Values(mine, "ours"), Values(mine, "peer"), PeerName);
    }

    private static List<double> Values(List<string[]> told, string side) =>
        [.. told.Where(words => words[3] == side).Select(words => double.Parse(words[4], CultureInfo.InvariantCulture))];
}
