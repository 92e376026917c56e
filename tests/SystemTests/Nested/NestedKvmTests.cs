using Xunit;

namespace Vitro.SystemTests.Nested;

/// <summary>The KVM engine on real SVM semantics, whatever this host is.</summary>
public sealed class NestedKvmTests
{
    [Fact]
    public async Task The_engine_holds_in_every_case() => await RunAsync(TimeSpan.FromMinutes(6), "cases");

    [Fact]
    public async Task The_guest_boots_with_every_device_bound_on_one_two_and_four_processors() =>
        await RunAsync(TimeSpan.FromMinutes(20), "boot:1", "boot:2", "boot:4");

    private static async Task RunAsync(TimeSpan limit, params string[] arguments)
    {
        var machine = await NestedMachine.RunAsync(limit, arguments);
        foreach (var line in machine.Lines.Where(line => line.StartsWith("CASE ok", StringComparison.Ordinal)))
        {
            TestContext.Current.TestOutputHelper?.WriteLine(line);
        }

        Assert.True(machine.Lines.Contains("CASES DONE failed 0"), string.Join('\n', machine.Lines));
    }
}
