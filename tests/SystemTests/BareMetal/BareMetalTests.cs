using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.BareMetal;

/// <summary>One kernel a subject, each with many checks of what the processor architecture promises.</summary>
public sealed class BareMetalTests(ITestOutputHelper output)
{
    public static TheoryData<string, int, bool> Kernels
    {
        get
        {
            var data = new TheoryData<string, int, bool>();
            foreach (var (subject, processors) in new[]
            {
                ("paging", 1), ("exceptions", 1), ("interrupts", 1), ("smp", 2), ("smp", 4), ("litmus", 2), ("litmus", 4), ("synic", 2), ("segmentation", 1), ("legacy", 1),
            })
            {
                data.Add(subject, processors, false);
                data.Add(subject, processors, true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Kernels))]
    public async Task A_kernel_finds_the_processor_as_the_manuals_describe_it(string subject, int processors, bool translate)
    {
        using var choice = new ExecutionChoice(translate);
        output.WriteLine(await TestKernel.RunChecksAsync(subject, processors));
    }

    [Fact]
    public async Task A_triple_fault_ends_the_machine_and_says_where()
    {
        await using var machine = RunningMachine.Start(TestKernel.Define("triplefault", processors: 1));

        var end = await machine.EndAsync(TimeSpan.FromSeconds(60));

        Assert.Equal(MachineEndKind.TripleFault, end.Kind);
        Assert.Equal(4, end.ExitCode);
        Assert.Contains("double fault", end.Detail, StringComparison.Ordinal);
    }
}
