using Vitro.Fuzz.Targets;
using Xunit;

namespace Vitro.UnitTests.Fuzz;

/// <summary>A short seeded run of each fuzz target; the long ones are run by afl-fuzz over tests/Fuzz.</summary>
public sealed class FuzzSmokeTests
{
    [Fact]
    public void Random_channel_messages_leave_the_connection_sound() => RandomInputs.Run(new VmBusMessagesTarget(), 3000, seed: 1);

    [Fact]
    public void Random_rings_break_nothing_but_themselves()
    {
        using var target = new VmBusRingTarget();
        RandomInputs.Run(target, 5000, seed: 2);
    }

    [Fact]
    public void Random_saved_machines_are_refused_or_harm_themselves_only()
    {
        using var target = new SavedMachineTarget();
        RandomInputs.Run(target, 60, seed: 4);
    }

    [Fact]
    public void Random_storage_packets_are_all_completed()
    {
        using var target = new StorvspTarget();
        RandomInputs.Run(target, 3000, seed: 3);
    }
}
