using System.Diagnostics;
using Vitro.Configuration;
using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>stress-ng, which checks what it computes, in a guest of four processors.</summary>
public sealed class StressTests(ITestOutputHelper output)
{
    private const int Seconds = 600;

    [Fact]
    public async Task Processor_memory_cache_and_atomic_work_that_checks_itself_finds_no_error_in_ten_minutes()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1", "A long test: './test --long'.");
        using var disk = LinuxImage.CopyDisk(Workloads());
        var definition = LinuxImage.Define(processors: 4, disk);
        await using var machine = RunningMachine.Start(definition with
        {
            MemoryBytes = 1 << 30,
            Boot = definition.Boot with { CommandLine = $"console=ttyS0 quiet panic=-1 workload=stress workload.seconds={Seconds}" },
        });

        await machine.ExpectAsync("VITRO-BENCH-DONE", TimeSpan.FromSeconds(Seconds + 300));

        output.WriteLine(machine.Serial.Text);
        Assert.Contains($"VITRO-BENCH stress {Seconds} s", machine.Serial.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("VITRO-BENCH-FAILED", machine.Serial.Text, StringComparison.Ordinal);
    }

    /// <summary>The disk of workloads; the test is skipped when it cannot be made here.</summary>
    private static string Workloads()
    {
        var start = new ProcessStartInfo(Path.Combine(SourceTree.Root, "tests", "Workloads", "build"))
        {
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        using var process = Process.Start(start)!;
        var folder = process.StandardOutput.ReadToEnd().Trim().Split('\n')[^1];
        process.WaitForExit();
        Assert.SkipWhen(process.ExitCode != 0, "The disk of workloads cannot be made on this host; tests/Workloads/build says why.");
        return Path.Combine(folder, "workloads.img");
    }
}
