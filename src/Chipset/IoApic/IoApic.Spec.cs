namespace Vitro.Chipset;

/// <summary>Registers of the 82093AA IO-APIC, with the EOI register of version 0x20.</summary>
internal static class IoApicSpec
{
    internal const ulong DefaultAddress = 0xFEC0_0000;
    internal const ulong MmioLength = 0x1000;
    internal const int PinCount = 24;

    internal const ulong OffsetSelect = 0x00;
    internal const ulong OffsetWindow = 0x10;
    internal const ulong OffsetEoi = 0x40;

    internal const byte RegisterId = 0;
    internal const byte RegisterVersion = 1;
    internal const byte RegisterArbitration = 2;
    internal const byte RegisterRedirection = 0x10;
    internal const uint VersionValue = 0x20 | ((PinCount - 1) << 16);

    internal const ulong EntryLogical = 1 << 11;
    internal const ulong EntryRemoteIrr = 1 << 14;
    internal const ulong EntryLevel = 1 << 15;
    internal const ulong EntryMasked = 1 << 16;

    /// <summary>Bits software writes: not delivery status (12), not remote IRR (14).</summary>
    internal const ulong EntryWritable = 0xFFFE_0000_0001_AFFF;
}
