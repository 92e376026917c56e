namespace Vitro.Chipset;

/// <summary>Ports and control words of the 8254 interval timer and the system control port beside it.</summary>
internal static class PitSpec
{
    internal const ushort Counter0 = 0x40;
    internal const ushort Control = 0x43;
    internal const ushort SystemControl = 0x61;

    /// <summary>Input clock in Hz: a twelfth of four times the NTSC colour carrier.</summary>
    internal const long Frequency = 1_193_182;

    internal const byte ReadBack = 3;
    internal const byte ReadBackNoCount = 0x20;
    internal const byte ReadBackNoStatus = 0x10;

    internal const byte Gate2 = 0x01;
    internal const byte Speaker = 0x02;
    internal const byte RefreshToggle = 0x10;
    internal const byte Output2 = 0x20;

    /// <summary>Bits of port 0x61 that software writes: gate 2, speaker, parity and channel check disables.</summary>
    internal const byte SystemControlWritable = 0x0F;

    /// <summary>Half the period of the refresh toggle in nanoseconds.</summary>
    internal const long RefreshHalfPeriod = 15_085;

    /// <summary>The input clock's ticks at a time in nanoseconds.</summary>
    internal static long ToTicks(long nanoseconds) => (long)((Int128)nanoseconds * Frequency / 1_000_000_000);

    /// <summary>The first nanosecond at which <see cref="ToTicks"/> gives <paramref name="ticks"/>.</summary>
    internal static long ToNanoseconds(long ticks) => (long)((((Int128)ticks * 1_000_000_000) + Frequency - 1) / Frequency);
}
