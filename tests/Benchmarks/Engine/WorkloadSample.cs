using System.Globalization;
using System.Text.RegularExpressions;

namespace Vitro.Benchmarks.Engine;

/// <summary>What one workload told in one run.</summary>
/// <param name="Value">Seconds, or a rate.</param>
/// <param name="Unit"><c>s</c> for seconds.</param>
/// <param name="Sum">Depends on all that the workload computed; empty where it has none.</param>
/// <param name="ProcessorCost">Processor seconds of the whole program, for a unit of work when the value is a rate.</param>
internal sealed partial record WorkloadSample(double Value, string Unit, string Sum, double ProcessorCost)
{
    internal bool IsRate => Unit != "s";

    /// <summary>Reads the lines of a guest, with the processor time that its host program used between them.</summary>
    /// <exception cref="InvalidOperationException">A workload failed.</exception>
    internal static Dictionary<string, WorkloadSample> ReadGuest(GuestProcess guest)
    {
        var output = guest.Output;
        if (Failure().Match(output) is { Success: true } failure)
        {
            throw new InvalidOperationException($"A workload failed in the guest: {failure.Value.Trim()}");
        }

        Dictionary<string, WorkloadSample> samples = [];
        var starts = Start().Matches(output).ToDictionary(match => match.Groups["name"].Value, match => guest.MomentAt(match.Index), StringComparer.Ordinal);
        foreach (Match match in Line().Matches(output))
        {
            var begin = starts[match.Groups["name"].Value];
            var end = guest.MomentAt(match.Index);
            var value = Number(match, "value");
            var processor = end.ProcessorSeconds - begin.ProcessorSeconds;
            var unit = match.Groups["unit"].Value;

            // A rate is measured over a time, so a host that gives less of it makes it smaller, too.
            samples[match.Groups["name"].Value] = new WorkloadSample(
                value, unit, match.Groups["sum"].Value, unit == "s" ? processor : processor / (value * (end.Seconds - begin.Seconds)));
        }

        return samples;
    }

    /// <summary>Reads the lines of the workload program on the host, which tells its processor time itself.</summary>
    internal static Dictionary<string, WorkloadSample> ReadHost(string output) => Line().Matches(output).ToDictionary(
        match => match.Groups["name"].Value,
        match => new WorkloadSample(Number(match, "value"), match.Groups["unit"].Value, match.Groups["sum"].Value, Number(match, "cpu")),
        StringComparer.Ordinal);

    private static double Number(Match match, string group) => double.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex(
        @"^VITRO-BENCH (?<name>[\w-]+) (?<value>[0-9.e+]+) (?<unit>\S+)( (?<sum>[0-9a-f]+) cpu:(?<cpu>[0-9.]+))?\r?$",
        RegexOptions.ExplicitCapture | RegexOptions.Multiline,
        1000)]
    private static partial Regex Line();

    [GeneratedRegex(@"^VITRO-BENCH-START (?<name>[\w-]+)\r?$", RegexOptions.ExplicitCapture | RegexOptions.Multiline, 1000)]
    private static partial Regex Start();

    [GeneratedRegex("VITRO-BENCH-FAILED.*", RegexOptions.None, 1000)]
    private static partial Regex Failure();
}
