using Vitro.Configuration;
using Vitro.SystemTests.BareMetal;
using Vitro.SystemTests.Linux;
using Xunit;

namespace Vitro.SystemTests.Lockstep;

/// <summary>Translated code against the interpreter, on the stock kernel.</summary>
public sealed class LockstepTests(ITestOutputHelper output)
{
    [Fact]
    public void The_kernel_begins_to_boot_on_both_alike() => Compare(20_000_000);

    [Fact]
    public void Processors_that_share_memory_and_change_code_do_so_on_both_alike()
    {
        using var run = new LockstepRun(TestKernel.Define("smp", processors: 2));
        var difference = run.Run("DONE", 100_000_000);
        output.WriteLine($"{run.Instructions} instructions; serial port:\n{run.Serial}");
        Assert.True(difference is null, difference);
        Assert.Contains("DONE", run.Serial, StringComparison.Ordinal);
        Assert.DoesNotContain("FAIL", run.Serial, StringComparison.Ordinal);
    }

    [Fact]
    public void The_kernel_boots_to_a_shell_on_both_alike()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1", "takes minutes: ./test --long");
        Assert.Contains("VITRO-SHELL", Compare(3_000_000_000), StringComparison.Ordinal);
    }

    private string Compare(ulong instructions)
    {
        var definition = LinuxImage.DefineWithoutDisk(1);
        using var run = new LockstepRun(definition with
        {
            MemoryBytes = 128 << 20,
            Boot = definition.Boot with { CommandLine = "console=ttyS0 panic=-1 vitro.shell=initrd" },
        });
        var difference = run.Run("VITRO-SHELL", instructions);
        output.WriteLine($"{run.Instructions} instructions, {run.WithOtherFlags} of them with flags that differ; serial port:\n{run.Serial}");
        Assert.True(difference is null, difference);
        return run.Serial;
    }
}
