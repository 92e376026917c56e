using Vitro.SystemTests.BareMetal;
using Vitro.SystemTests.Input;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.Saving;

/// <summary>A kernel that watches registers, memory, clocks and timers while it is saved and restored.</summary>
public sealed class ResumedKernelTests
{
    [Theory]
    [InlineData(1, false, false)]
    [InlineData(2, true, true)]
    [InlineData(1, false, true)]
    [InlineData(2, true, false)]
    public async Task Nothing_that_the_guest_can_see_changes(int processors, bool translateBefore, bool translateAfter)
    {
        using var folder = new TemporaryFolder();
        using (new ExecutionChoice(translateBefore))
        {
            await using var machine = RunningMachine.Start(TestKernel.Define("resume", processors) with { MemoryBytes = 16 << 20 });
            await machine.ExpectAsync("READY", TimeSpan.FromSeconds(20));
            await machine.SaveAsync(folder["0.vmrs"]);
        }

        for (var round = 0; round < 3; round++)
        {
            using var choice = new ExecutionChoice(round % 2 == 0 ? translateAfter : translateBefore);
            await using var machine = RunningMachine.Restore(folder[$"{round}.vmrs"]);
            await machine.SaveAsync(folder[$"{round + 1}.vmrs"]);
        }

        using (new ExecutionChoice(translateAfter))
        {
            await FinishAsync(RunningMachine.Restore(folder["3.vmrs"]));
        }
    }

    /// <summary>Lets the kernel give its verdict.</summary>
    internal static async Task FinishAsync(RunningMachine restored)
    {
        await using var machine = restored;
        await machine.TypeLineAsync("");
        var end = await machine.EndAsync(TimeSpan.FromSeconds(20));
        Assert.True(end is { Kind: MachineEndKind.DebugExit, DebugExitCode: 0 }, $"{end}\n{machine.Serial.Text}");
    }
}
