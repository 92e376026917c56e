namespace Vitro.Hypervisor.Tlfs;

/// <summary>Numbers of the synthetic model-specific registers (TLFS, appendix "Hypervisor Synthetic MSRs").</summary>
internal static class SyntheticMsr
{
    internal const uint First = 0x4000_0000;
    internal const uint Last = 0x4000_01FF;

    internal const uint GuestOsId = 0x4000_0000;
    internal const uint Hypercall = 0x4000_0001;
    internal const uint VpIndex = 0x4000_0002;
    internal const uint Reset = 0x4000_0003;
    internal const uint TimeReferenceCount = 0x4000_0020;
    internal const uint ReferenceTsc = 0x4000_0021;
    internal const uint TscFrequency = 0x4000_0022;
    internal const uint ApicFrequency = 0x4000_0023;
    internal const uint Eoi = 0x4000_0070;
    internal const uint Icr = 0x4000_0071;
    internal const uint Tpr = 0x4000_0072;
    internal const uint VpAssistPage = 0x4000_0073;
    internal const uint SControl = 0x4000_0080;
    internal const uint SVersion = 0x4000_0081;
    internal const uint Siefp = 0x4000_0082;
    internal const uint Simp = 0x4000_0083;
    internal const uint Eom = 0x4000_0084;
    internal const uint Sint0 = 0x4000_0090;
    internal const uint Sint15 = 0x4000_009F;

    // CONFIG at even, COUNT at odd numbers, a pair for each timer.
    internal const uint Stimer0Config = 0x4000_00B0;
    internal const uint Stimer3Count = 0x4000_00B7;
    internal const uint CrashP0 = 0x4000_0100;
    internal const uint CrashP4 = 0x4000_0104;
    internal const uint CrashControl = 0x4000_0105;
    internal const uint TscInvariantControl = 0x4000_0118;

    /// <summary>Bit 0 of every register that places a page in guest memory.</summary>
    internal const ulong PageEnable = 1;

    /// <summary>Bits that hold the page's address in such a register.</summary>
    internal const ulong PageAddress = ~0xFFFUL;
}
