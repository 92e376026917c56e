using System.Globalization;
using Vitro.Configuration;
using Vitro.WorkerProcess;
using Xunit;

namespace Vitro.SystemTests.BareMetal;

/// <summary>Guests that write garbage wherever the host listens: the machine ends by its own rules or goes on, and can be stopped.</summary>
public sealed class HostileGuestTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 2)]
    [InlineData(3, 1)]
    [InlineData(4, 2)]
    public Task A_guest_that_writes_garbage_harms_itself_only(int seed, int processors) => RunAsync(seed, processors, rounds: 3000);

    [Fact]
    public async Task Many_guests_that_write_garbage_harm_themselves_only()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1", "A long test: './test --long'.");
        for (var seed = 100; seed < 200; seed++)
        {
            await RunAsync(seed, processors: 1 + (seed & 1), rounds: 20000);
        }
    }

    [Fact]
    public async Task A_machine_whose_guest_never_stops_writing_garbage_can_be_turned_off()
    {
        var disk = CreateDisk();
        try
        {
            await using var machine = Start(disk, seed: 5, processors: 1, rounds: 4_000_000_000);
            // The guest has opened channels by the time its first thousand hypercalls are through.
            await Task.WhenAny(machine.Machine.Ended, Task.Delay(TimeSpan.FromSeconds(1), TimeProvider.System));
            machine.Machine.TurnOff();
            var end = await machine.EndAsync(TimeSpan.FromSeconds(10));
            Assert.NotEqual(MachineEndKind.InternalError, end.Kind);
        }
        finally
        {
            File.Delete(disk);
        }
    }

    private static async Task RunAsync(int seed, int processors, long rounds)
    {
        var disk = CreateDisk();
        try
        {
            await using var machine = Start(disk, seed, processors, rounds);
            // A guest may have harmed itself so that it does nothing more; then it must be possible to turn it off.
            await Task.WhenAny(machine.Machine.Ended, Task.Delay(TimeSpan.FromSeconds(15), TimeProvider.System));
            machine.Machine.TurnOff();
            var end = await machine.EndAsync(TimeSpan.FromSeconds(10));
            Assert.True(end.Kind != MachineEndKind.InternalError, $"Seed {seed}: {end.Detail}");
        }
        finally
        {
            File.Delete(disk);
        }
    }

    private static RunningMachine Start(string disk, int seed, int processors, long rounds) => RunningMachine.Start(
        TestKernel.Define("hostile", processors, string.Create(CultureInfo.InvariantCulture, $"seed={seed} rounds={rounds}")) with
        {
            Disks = [new DiskDefinition(disk)],
        });

    private static string CreateDisk()
    {
        var path = Path.Combine(Path.GetTempPath(), $"vitro-hostile-{Guid.NewGuid():N}.img");
        using var file = File.Create(path);
        file.SetLength(16 << 20);
        return path;
    }
}
