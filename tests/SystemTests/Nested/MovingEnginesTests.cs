using System.Globalization;
using Vitro.Configuration;
using Vitro.SystemTests.Input;
using Vitro.SystemTests.Linux;
using Xunit;

namespace Vitro.SystemTests.Nested;

/// <summary>
/// Guests that begin under one engine and go on under the other, in the middle of disk writes and timers: under KVM in the
/// emulated machine, under the software engine on this host. The saved file and the disk are carried between the two.
/// </summary>
public sealed class MovingEnginesTests
{
    private const int Patience = 10;
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(10);

    [Fact]
    public async Task A_guest_of_the_software_engine_goes_on_under_KVM_and_comes_back()
    {
        using var way = new Way();
        var processor = (await way.RunNestedAsync("processor")).Single(line => line.StartsWith("PROCESSOR ", StringComparison.Ordinal))["PROCESSOR ".Length..];
        Tell(processor);
        way.Length = await MovingBodies.BeginsAsync(
            LinuxImage.Define(2, way.Disk) with { ProcessorModel = processor }, way.File, Tell, Patience);
        await way.GoOnNestedAsync(1, isLast: false);
        await way.GoOnHereAsync(2, isLast: true);
    }

    [Fact]
    public async Task A_guest_of_KVM_with_its_hints_goes_on_under_the_software_engine_and_comes_back()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1", "A long test: './test --long'.");
        using var way = new Way();
        await way.RunNestedAsync("begin:2");
        await way.GoOnHereAsync(1, isLast: false);
        await way.GoOnNestedAsync(2, isLast: true);
    }

    private static void Tell(string line) => TestContext.Current.TestOutputHelper?.WriteLine(line);

    /// <summary>What is carried.</summary>
    private sealed class Way : IDisposable
    {
        private readonly TemporaryFolder _folder = new();

        // The emulated machine's disks are files of whole sectors, with room for what a saved guest may grow to.
        private const long Room = 256 << 20;

        internal LinuxImage.RootDisk Disk { get; } = LinuxImage.CopyRawRootDisk();

        internal string File => _folder["machine.vmrs"];

        /// <summary>Bytes of the saved file.</summary>
        internal long Length { get; set; }

        internal async Task GoOnHereAsync(int number, bool isLast) =>
            Length = await MovingBodies.GoesOnAsync(new MovingStop(number, File, EngineChoice.Software, isLast, Disk.Path), Tell, Patience);

        internal async Task GoOnNestedAsync(int number, bool isLast) =>
            await RunNestedAsync(string.Create(CultureInfo.InvariantCulture, $"go-on:{number}:{Length}:{(isLast ? "end" : "save")}"));

        internal async Task<List<string>> RunNestedAsync(string argument)
        {
            using (var file = new FileStream(File, FileMode.OpenOrCreate))
            {
                file.SetLength(Room);
            }

            var machine = await NestedMachine.RunAsync(Limit, [Disk.Path, File], "", argument);
            foreach (var line in machine.Lines)
            {
                Tell(line);
            }

            Assert.True(machine.Lines.Contains("CASES DONE failed 0"), string.Join('\n', machine.Lines));
            if (machine.Lines.Find(line => line.StartsWith("CARRIED ", StringComparison.Ordinal)) is { } carried)
            {
                Length = long.Parse(carried["CARRIED ".Length..], CultureInfo.InvariantCulture);
                using var file = new FileStream(File, FileMode.Open);
                file.SetLength(Length);
            }

            return machine.Lines;
        }

        public void Dispose()
        {
            Disk.Dispose();
            _folder.Dispose();
        }
    }
}
