using Vitro.Configuration;
using Vitro.SystemTests.Input;
using Vitro.SystemTests.Linux;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.Saving;

/// <summary>The stock Debian kernel saved in the middle of disk writes and timers, and restored by interpreter and translator in turn.</summary>
public sealed class LinuxSavingTests
{
    [Theory]
    [InlineData(1, "raw", 2)]
    [InlineData(2, "vhdx", 2)]
    [InlineData(4, "raw", 1)]
    public async Task A_guest_in_the_middle_of_disk_writes_goes_on_as_if_nothing_had_been(int processors, string format, int rounds)
    {
        using var folder = new TemporaryFolder();
        using var disk = format == "vhdx" ? LinuxImage.CopyRootDisk() : LinuxImage.CopyRawRootDisk();
        var file = folder["machine.vmrs"];
        await MovingBodies.GoesOnInTheMiddleOfDiskWritesAsync(
            LinuxImage.Define(processors, disk),
            file,
            [.. Enumerable.Repeat(EngineChoice.Software, rounds + 1)],
            round => new ExecutionChoice(translate: round != 1),
            line => TestContext.Current.TestOutputHelper?.WriteLine(line));

        // The disk has moved on by now: the file's memory would destroy what is on it.
        var refusal = Assert.Throws<DefinitionException>(() => RunningMachine.Restore(file));
        Assert.Contains(disk.Path, refusal.Message, StringComparison.Ordinal);
        Assert.Contains("has changed", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_machine_that_cannot_be_saved_goes_on()
    {
        using var folder = new TemporaryFolder();
        await using var shell = await LinuxShell.BootAsync(LinuxImage.DefineWithoutDisk(processors: 2));

        await Assert.ThrowsAsync<IOException>(() => shell.Machine.SaveAsync(folder["missing/machine.vmrs"]));
        await Assert.ThrowsAsync<IOException>(() => shell.Machine.SaveAsync(folder.Path));

        Assert.Equal("42\n", await shell.RunAsync("echo $((6*7))"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }
}
