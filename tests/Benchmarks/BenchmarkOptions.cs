using Vitro.Benchmarks.Engine;
using Vitro.Benchmarks.Kvm;
using Vitro.Benchmarks.Vhd;

namespace Vitro.Benchmarks;

/// <summary>How much of a benchmark's table is measured.</summary>
/// <param name="Rounds">Rounds of ours and the peer's in turn; medians over them are shown.</param>
/// <param name="Parts">Some of <see cref="AllParts"/>; those of other benchmarks mean nothing to one.</param>
internal sealed record BenchmarkOptions(int Rounds, IReadOnlyList<string> Parts)
{
    internal static readonly IReadOnlyList<string> AllParts = [.. EngineBenchmark.AllParts, .. VhdBenchmark.AllParts, .. KvmBenchmark.AllParts];

    /// <summary>Takes <c>--rounds N</c> and <c>--only PART,PART</c> out of the arguments.</summary>
    /// <exception cref="FormatException">An option has no value or a wrong one.</exception>
    internal static BenchmarkOptions Take(List<string> arguments)
    {
        var rounds = TakeValue(arguments, "--rounds") is { } number
            ? int.TryParse(number, out var count) && count is >= 1 and <= 100 ? count : throw new FormatException($"--rounds takes 1 to 100, not {number}.")
            : 5;
        var parts = TakeValue(arguments, "--only")?.Split(',') ?? AllParts;
        return parts.FirstOrDefault(part => !AllParts.Contains(part)) is { } unknown
            ? throw new FormatException($"--only takes some of {string.Join(",", AllParts)}, not {unknown}.")
            : new BenchmarkOptions(rounds, [.. parts]);
    }

    private static string? TakeValue(List<string> arguments, string option)
    {
        var place = arguments.IndexOf(option);
        if (place < 0)
        {
            return null;
        }

        if (place + 1 == arguments.Count)
        {
            throw new FormatException($"{option} needs a value.");
        }

        var value = arguments[place + 1];
        arguments.RemoveRange(place, 2);
        return value;
    }
}
