using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Chipset;

/// <summary>Registers that come from an engine's own local APIC.</summary>
public sealed class LocalApicEngineTests
{
    private const int SpuriousVector = 0x0F;
    private const int TimerVector = 0x32;
    private const int InitialCount = 0x38;
    private const int CurrentCount = 0x39;

    [Fact]
    public void A_one_shot_timer_that_has_run_out_is_due_where_the_machine_goes_on() => Assert.Equal([0x51], TakenAfterMove(1000, 0));

    [Fact]
    public void A_timer_that_was_never_set_is_not_due() => Assert.Empty(TakenAfterMove(0, 0));

    [Fact]
    public void A_one_shot_timer_that_runs_is_not_due_before_its_time() => Assert.Empty(TakenAfterMove(1_000_000_000, 1_000_000_000));

    // What a processor takes in the first microsecond after a move from an engine that has local APICs of its own.
    private static List<int> TakenAfterMove(uint initial, uint current)
    {
        var engine = new FakeLocalApics();
        using var machine = new ChipsetFixture();
        machine.Chipset.AttachProcessors(machine.Processors, engine);
        engine.Put(SpuriousVector, 0x1FF);
        engine.Put(TimerVector, 0x51);
        engine.Put(InitialCount, initial);
        engine.Put(CurrentCount, current);

        using var other = new ChipsetFixture(start: false);
        other.Chipset.Restore(new SavedStateReader(machine.SaveState()));
        other.Chipset.Start();
        other.Advance(1_000);
        return other.TakeAll();
    }
}
