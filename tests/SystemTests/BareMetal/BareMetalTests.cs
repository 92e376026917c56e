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
