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

    // The same machine each time, so that what differs once differs again; each seed gives another, for the kernel makes its random numbers from
    // the machine's identity, and from those the addresses of all programs.
    private string Compare(ulong instructions, int interpretedRuns)
    {
        using var disk = LinuxImage.CopyRawRootDisk();
        using var otherDisk = LinuxImage.CopyRawRootDisk();
        var definition = LinuxImage.Define(1, disk);
        using var run = new LockstepRun(
            definition with
            {
                Id = new Guid(int.TryParse(Environment.GetEnvironmentVariable("VITRO_TEST_SEED"), out var seed) ? seed : 1, 0, 0, new byte[8]),
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
