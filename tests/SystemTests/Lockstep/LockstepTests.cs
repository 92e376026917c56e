using Vitro.Configuration;
using Vitro.SystemTests.BareMetal;
using Vitro.SystemTests.Linux;
using Xunit;

namespace Vitro.SystemTests.Lockstep;

/// <summary>Translated code against the interpreter, on the stock kernel.</summary>
public sealed class LockstepTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void The_kernel_begins_to_boot_on_both_alike(int interpretedRuns) => Compare(20_000_000, interpretedRuns);

    [Fact]
    public void Processors_that_share_memory_and_change_code_do_so_on_both_alike()
    {
        using var run = new LockstepRun(TestKernel.Define("smp", processors: 2), interpretedRuns: 0);
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
        var serial = Compare(6_000_000_000, interpretedRuns: 0);
        Assert.Contains("VITRO-SHELL", serial, StringComparison.Ordinal);
        foreach (var driver in (string[])["hv_storvsc", "hv_utils", "hyperv_keyboard"])
        {
            Assert.Contains(driver, serial[serial.IndexOf("Debian GNU/Linux 12 on Vitro", StringComparison.Ordinal)..], StringComparison.Ordinal);
        }
    }

    // The same machine each time: what differs once differs again.
    private string Compare(ulong instructions, int interpretedRuns)
    {
        using var disk = LinuxImage.CopyRawRootDisk();
        using var otherDisk = LinuxImage.CopyRawRootDisk();
        var definition = LinuxImage.Define(1, disk);
        using var run = new LockstepRun(
            definition with
            {
                Id = new Guid("5f6f1f3e-93a1-4f0e-8c53-6a2d1c9b7e40"),
                MemoryBytes = 256 << 20,
                Boot = definition.Boot with { CommandLine = "console=ttyS0 panic=-1" },
            },
            interpretedRuns,
            new DiskDefinition(otherDisk.Path));
        var difference = run.Run("VITRO-SHELL", instructions);
        output.WriteLine($"{run.Instructions} instructions, {run.WithOtherFlags} of them with flags that differ; serial port:\n{run.Serial}");
        Assert.True(difference is null, difference);
        return run.Serial;
    }
}
