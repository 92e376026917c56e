namespace Vitro.Chipset;

/// <summary>The 32-bit ACPI power management timer as a function of the machine's clock.</summary>
internal static class PmTimer
{
    /// <summary>Ticks since the clock's zero.</summary>
    internal static long Ticks(long nanoseconds) => (long)((Int128)nanoseconds * PmSpec.TimerFrequency / 1_000_000_000);

    /// <summary>The counter as read.</summary>
    internal static uint Count(long nanoseconds) => (uint)Ticks(nanoseconds);

    /// <summary>When bit 31 next changes, which sets the timer status.</summary>
    internal static long NextCarry(long nanoseconds)
    {
        var tick = ((Ticks(nanoseconds) >> 31) + 1) << 31;
        return (long)((((Int128)tick * 1_000_000_000) + PmSpec.TimerFrequency - 1) / PmSpec.TimerFrequency);
    }
}
