using Vitro.Benchmarks;
using Vitro.Benchmarks.Vhd;

var benchmarks = new Dictionary<string, Func<CancellationToken, Task<int>>>(StringComparer.Ordinal)
{
    ["boot"] = BootBenchmark.RunAsync,
    ["disk"] = DiskBenchmark.RunAsync,
    ["interpreter"] = _ =>
    {
        InterpreterBenchmark.Run(TimeSpan.FromSeconds(2), vector: false);
        return Task.FromResult(0);
    },
    ["vector"] = _ =>
    {
        InterpreterBenchmark.Run(TimeSpan.FromSeconds(2), vector: true);
        return Task.FromResult(0);
    },
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
