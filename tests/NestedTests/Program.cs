using System.Diagnostics;
using System.Globalization;
using Vitro.KvmTests;

// Runs inside an emulated machine with SVM. A line for each case, and one at the end that whoever reads the console waits for.
var failed = 0;
var filter = args.Length > 1 ? args[1] : "";
foreach (var (name, body) in KvmCases.All)
{
    if (!name.Contains(filter, StringComparison.Ordinal))
    {
        continue;
    }

    var started = Stopwatch.GetTimestamp();
    try
    {
        body();
        var milliseconds = (long)Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CASE ok {name} ({milliseconds} ms)"));
    }
    catch (Exception error)
    {
        // A case's top: every failure is reported and the next case runs.
        failed++;
        Console.WriteLine($"CASE FAIL {name}: {error.ToString().ReplaceLineEndings(" | ")}");
    }
}

Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"CASES {KvmCases.All.Count} failed {failed}"));
return failed == 0 ? 0 : 1;
