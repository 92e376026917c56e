using Xunit;

namespace Vitro.SystemTests.Linux;

/// <summary>32-bit programs of the 64-bit guest compute what they must, whatever interrupts them.</summary>
public sealed class CompatibilityModeTests
{
    private const int Limit = 200_000;
    private const int Rounds = 20;

    [Theory]
    [InlineData(1, true)]
    [InlineData(2, true)]
    [InlineData(1, false)]
    public async Task Programs_of_32_bit_code_compute_as_the_host_does(int processors, bool translate)
    {
        using var choice = new ExecutionChoice(translate);
        using var program = GuestProgram.Assemble("compatibility");
        var definition = LinuxImage.DefineWithoutDisk(processors);
        await using var shell = await LinuxShell.BootAsync(definition with
        {
            Boot = definition.Boot with { Initrd = [program.Initrd] },
        });

        var output = await shell.RunAsync("/compatibility & /compatibility & wait; /compatibility; echo code $?", seconds: 60);
        Assert.True(output.Split(Expected()).Length == 4, output);
        Assert.Contains("code 0", output, StringComparison.Ordinal);
    }

    private static string Expected()
    {
        var flags = new byte[Limit];
        var primes = 0;
        for (var n = 2L; n < Limit; n++)
        {
            if (flags[n] != 0)
            {
                continue;
            }

            primes++;
            for (var multiple = n * n; multiple < Limit; multiple += n)
            {
                flags[multiple] = 1;
            }
        }

        var hash = 0x811C9DC5;
        foreach (var flag in flags)
        {
            hash = (hash ^ flag) * 0x01000193;
        }

        return $"COMPATIBILITY {primes:x8} {hash:x8} {3 * Rounds:x8} {1000 * Rounds:x8} {500_500 * Rounds:x8}";
    }
}
