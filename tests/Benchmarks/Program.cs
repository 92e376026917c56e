using Vitro.Benchmarks;
using Vitro.Benchmarks.Engine;
using Vitro.Benchmarks.Kvm;
using Vitro.Benchmarks.Vhd;

var names = args.ToList();
BenchmarkOptions options;
try
{
    options = BenchmarkOptions.Take(names);
}
catch (FormatException exception)
{
    await Console.Error.WriteLineAsync(exception.Message);
    return 2;
}

var benchmarks = new Dictionary<string, Func<CancellationToken, Task<int>>>(StringComparer.Ordinal)
{
    ["boot"] = BootBenchmark.RunAsync,
    ["disk"] = DiskBenchmark.RunAsync,
    ["engine"] = token => EngineBenchmark.RunAsync(options, token),
    ["interpreter"] = _ => RunLoop(false, "off"),
    ["kvm"] = token => KvmBenchmark.RunAsync(options, token),
    ["translator"] = _ => RunLoop(false, "off", "on"),
    ["pauses"] = PausesBenchmark.RunAsync,
    ["save"] = SaveBenchmark.RunAsync,
    ["translation"] = _ => Task.FromResult(TranslationBenchmark.Run()),
    ["vector"] = _ => RunLoop(true, "off"),
    ["vhd"] = _ => Task.FromResult(VhdBenchmark.Run(options)),
};

if (names.Count == 0 || names.Any(name => !benchmarks.ContainsKey(name)))
{
    await Console.Error.WriteLineAsync(
        $"Usage: ./bench NAME... [--rounds N] [--only PART,...]   Benchmarks: {string.Join(", ", benchmarks.Keys)}\n"
        + $"--rounds and --only are for engine, with the parts {string.Join(", ", EngineBenchmark.AllParts)},\n"
        + $"for vhd, with the parts {string.Join(", ", VhdBenchmark.AllParts)}; --only for kvm, with the parts {string.Join(", ", KvmBenchmark.AllParts)}");
    return names.Count == 0 ? 0 : 2;
}

using var cancel = new CancellationTokenSource();
Console.CancelKeyPress += (_, pressed) =>
{
    pressed.Cancel = true;
    cancel.Cancel();
};
var code = 0;
foreach (var name in names)
{
    code = Math.Max(code, await benchmarks[name](cancel.Token));
}

return code;

// Interpreted ("off") and translated ("on") in turn; the engine reads the variable when it makes a partition.
static Task<int> RunLoop(bool vector, params ReadOnlySpan<string> translations)
{
    foreach (var translation in translations)
    {
        Environment.SetEnvironmentVariable("VITRO_TRANSLATE", translation);
        Console.WriteLine($"VITRO_TRANSLATE={translation}");
        InterpreterBenchmark.Run(TimeSpan.FromSeconds(2), vector);
    }

    Environment.SetEnvironmentVariable("VITRO_TRANSLATE", null);
    return Task.FromResult(0);
}
