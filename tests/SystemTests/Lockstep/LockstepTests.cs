using Vitro.Configuration;
using Vitro.SystemTests.Linux;
using Xunit;

namespace Vitro.SystemTests.Lockstep;

/// <summary>Translated code against the interpreter, on the stock kernel.</summary>
public sealed class LockstepTests(ITestOutputHelper output)
{
    [Fact]
    public void The_kernel_begins_to_boot_on_both_alike() => Compare(20_000_000);

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
