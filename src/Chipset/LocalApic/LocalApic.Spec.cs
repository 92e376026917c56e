namespace Vitro.Chipset;

/// <summary>Register numbers and bits of the local APIC (Intel SDM volume 3, "Advanced Programmable Interrupt Controller").</summary>
/// <remarks>A register's number is its xAPIC offset divided by 16 and its x2APIC MSR minus 0x800.</remarks>
internal static class LocalApicSpec
{
    internal const uint MsrApicBase = 0x1B;
    internal const uint MsrTscDeadline = 0x6E0;
    internal const uint MsrX2ApicFirst = 0x800;
    internal const uint MsrX2ApicLast = 0x8FF;

    internal const ulong ApicBaseBsp = 1 << 8;
    internal const ulong ApicBaseX2Apic = 1 << 10;
    internal const ulong ApicBaseEnable = 1 << 11;
    internal const ulong ApicBaseAddress = 0x000F_FFFF_FFFF_F000;
    internal const ulong DefaultAddress = 0xFEE0_0000;
    internal const ulong MmioLength = 0x1000;

    internal const int Id = 0x02;
    internal const int Version = 0x03;
    internal const int TaskPriority = 0x08;
    internal const int ArbitrationPriority = 0x09;
    internal const int ProcessorPriority = 0x0A;
    internal const int Eoi = 0x0B;
    internal const int RemoteRead = 0x0C;
    internal const int LogicalDestination = 0x0D;
    internal const int DestinationFormat = 0x0E;
    internal const int SpuriousVector = 0x0F;
    internal const int InServiceFirst = 0x10;
    internal const int TriggerModeFirst = 0x18;
    internal const int RequestFirst = 0x20;
    internal const int ErrorStatus = 0x28;
    internal const int CommandLow = 0x30;
    internal const int CommandHigh = 0x31;
    internal const int LvtFirst = 0x32;
    internal const int LvtLast = 0x37;
    internal const int InitialCount = 0x38;
    internal const int CurrentCount = 0x39;
    internal const int DivideConfiguration = 0x3E;
    internal const int SelfIpi = 0x3F;

    /// <summary>Integrated APIC (0x14), highest LVT entry 5.</summary>
    internal const uint VersionValue = 0x0005_0014;

    internal const int LvtTimer = 0;
    internal const int LvtThermal = 1;
    internal const int LvtPerformance = 2;
    internal const int LvtLint0 = 3;
    internal const int LvtLint1 = 4;
    internal const int LvtError = 5;
    internal const int LvtCount = 6;

    internal const uint LvtMasked = 1 << 16;
    internal const uint LvtModeMask = 7 << 8;
    internal const uint LvtModeExtInt = 7 << 8;
    internal const uint LvtModeNmi = 4 << 8;
    internal const uint LvtLevel = 1 << 15;
    internal const uint LvtPolarityLow = 1 << 13;

    /// <summary>Writable bits of each LVT entry.</summary>
    internal static ReadOnlySpan<uint> LvtWritable => [0x700FF, 0x107FF, 0x107FF, 0x1A7FF, 0x1A7FF, 0x100FF];

    internal const uint SpuriousEnable = 1 << 8;
    internal const uint SpuriousWritable = 0x3FF;

    internal const uint ErrorSendIllegalVector = 1 << 5;
    internal const uint ErrorReceiveIllegalVector = 1 << 6;
    internal const uint ErrorIllegalRegister = 1 << 7;

    internal const uint FlatFormat = 0xFFFF_FFFF;

    /// <summary>Writable bits of the low half of the interrupt command register.</summary>
    internal const uint CommandWritable = 0xC_CFFF;

    /// <summary>Lowest vector that fixed delivery takes; the others belong to the processor.</summary>
    internal const byte FirstVector = 16;
}
