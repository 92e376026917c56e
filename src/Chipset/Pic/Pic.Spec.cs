namespace Vitro.Chipset;

/// <summary>Command words of the 8259A and the ports of the pair.</summary>
internal static class PicSpec
{
    internal const ushort MasterCommand = 0x20;
    internal const ushort MasterData = 0x21;
    internal const ushort SlaveCommand = 0xA0;
    internal const ushort SlaveData = 0xA1;
    internal const ushort MasterElcr = 0x4D0;
    internal const ushort SlaveElcr = 0x4D1;

    /// <summary>Lines that can be level triggered: not the timer, keyboard, cascade (master), RTC and FPU (slave).</summary>
    internal const byte MasterElcrWritable = 0xF8;
    internal const byte SlaveElcrWritable = 0xDE;

    internal const byte Icw1 = 0x10;
    internal const byte Icw1NeedsIcw4 = 0x01;
    internal const byte Icw1Single = 0x02;
    internal const byte Icw4AutoEoi = 0x02;
    internal const byte Icw4SpecialFullyNested = 0x10;

    internal const byte Ocw3 = 0x08;
    internal const byte Ocw3Poll = 0x04;
    internal const byte Ocw3ReadRegister = 0x02;
    internal const byte Ocw3ReadInService = 0x01;
    internal const byte Ocw3SetSpecialMask = 0x40;
    internal const byte Ocw3SpecialMask = 0x20;
}
