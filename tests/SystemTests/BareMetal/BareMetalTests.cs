using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.BareMetal;

/// <summary>One kernel a subject, each with many checks of what the processor architecture promises.</summary>
public sealed class BareMetalTests
{
    [Theory]
    [InlineData("paging", 1)]
    [InlineData("exceptions", 1)]
    [InlineData("interrupts", 1)]
    [InlineData("smp", 4)]
    [InlineData("synic", 2)]
    [InlineData("segmentation", 1)]
    [InlineData("legacy", 1)]
    public Task A_kernel_finds_the_processor_as_the_manuals_describe_it(string subject, int processors) =>
        TestKernel.RunChecksAsync(subject, processors);

    [Fact]
    public async Task A_triple_fault_ends_the_machine_and_says_where()
    {
        await using var machine = RunningMachine.Start(TestKernel.Define("triplefault", processors: 1));

        var end = await machine.EndAsync(TimeSpan.FromSeconds(60));

        Assert.Equal(MachineEndKind.TripleFault, end.Kind);
        Assert.Equal(4, end.ExitCode);
        Assert.Contains("double fault", end.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("paging", 1)]
    [InlineData("exceptions", 1)]
    [InlineData("interrupts", 1)]
    [InlineData("smp", 4)]
    [InlineData("synic", 2)]
    [InlineData("segmentation", 1)]
    [InlineData("legacy", 1)]
    public async Task A_kernel_finds_the_translator_no_different_from_the_interpreter(string subject, int processors)
    {
        // The choice is the process's; no other machine runs meanwhile.
        var before = Environment.GetEnvironmentVariable("VITRO_TRANSLATE");
        Environment.SetEnvironmentVariable("VITRO_TRANSLATE", "on");
        try
        {
            await TestKernel.RunChecksAsync(subject, processors);
        }
        finally
        {
            Environment.SetEnvironmentVariable("VITRO_TRANSLATE", before);
        }
    }
}
