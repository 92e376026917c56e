using Vitro.Benchmarks;
using Vitro.Benchmarks.Vhd;

var benchmarks = new Dictionary<string, Func<CancellationToken, Task<int>>>(StringComparer.Ordinal)
{
    ["boot"] = BootBenchmark.RunAsync,
    ["disk"] = DiskBenchmark.RunAsync,
    ["engine"] = _ => RunEngine(false, "off", "on"),
    ["interpreter"] = _ => RunEngine(false, "off"),
    ["vector"] = _ => RunEngine(true, "off"),
    ["vhd"] = _ => Task.FromResult(VhdBenchmark.Run()),
};

if (args.Length == 0 || args.Any(name => !benchmarks.ContainsKey(name)))
{
    await Console.Error.WriteLineAsync("Usage: ./bench NAME...   Benchmarks: " + string.Join(", ", benchmarks.Keys));
    return args.Length == 0 ? 0 : 2;
}

using var cancel = new CancellationTokenSource();
Console.CancelKeyPress += (_, pressed) =>
{
    pressed.Cancel = true;
    cancel.Cancel();
};
var code = 0;
foreach (var name in args)
{
    code = Math.Max(code, await benchmarks[name](cancel.Token));
}

return code;

// Interpreted ("off") and translated ("on") in turn; the engine reads the variable when it makes a partition.
static Task<int> RunEngine(bool vector, params ReadOnlySpan<string> translations)
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
