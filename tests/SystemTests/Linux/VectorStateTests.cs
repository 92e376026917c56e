using System.Runtime.Intrinsics.X86;
using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>Vector and x87 registers belong to one program of a Linux guest, whatever interrupts it.</summary>
public sealed class VectorStateTests
{
    [Theory]
    [InlineData(1, true)]
    [InlineData(2, true)]
    [InlineData(1, false)]
    public async Task Programs_at_once_keep_their_registers(int processors, bool translate)
    {
        Assert.SkipUnless(Avx2.IsSupported, "The host's processor has no AVX2, so that guests have none.");
        using var choice = new ExecutionChoice(translate);
        using var program = GuestProgram.Assemble("vectors");
        var definition = LinuxImage.DefineWithoutDisk(processors);
        await using var shell = await LinuxShell.BootAsync(definition with
        {
            Boot = definition.Boot with { Initrd = [program.Initrd] },
        });

        Assert.Contains(" avx2 ", await shell.RunAsync("grep -m1 flags /proc/cpuinfo"), StringComparison.Ordinal);
        var output = await shell.RunAsync("/vectors & /vectors & /vectors; wait", seconds: 60);
        Assert.Equal(3, output.Split("VECTORS-OK").Length - 1);
        Assert.DoesNotContain("BAD", output, StringComparison.Ordinal);
    }
}
