using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Software;

/// <summary>Bits of the control registers and EFER (Intel SDM volume 3, section 2.5).</summary>
internal static class ControlBits
{
    public const ulong Cr0Protection = 1;
    public const ulong Cr0MonitorCoprocessor = 2;
    public const ulong Cr0Emulation = 4;
    public const ulong Cr0TaskSwitched = 8;
    public const ulong Cr0ExtensionType = 16;
    public const ulong Cr0NumericError = 32;
    public const ulong Cr0WriteProtect = 1 << 16;
    public const ulong Cr0AlignmentMask = 1 << 18;
    public const ulong Cr0NotWriteThrough = 1 << 29;
    public const ulong Cr0CacheDisable = 1 << 30;
    public const ulong Cr0Paging = 1UL << 31;
    public const ulong Cr0Defined = 0xE005_003F;

    public const ulong Cr4Vme = 1;
    public const ulong Cr4Pvi = 2;
    public const ulong Cr4Tsd = 4;
    public const ulong Cr4De = 8;
    public const ulong Cr4Pse = 16;
    public const ulong Cr4Pae = 32;
    public const ulong Cr4Mce = 64;
    public const ulong Cr4Pge = 128;
    public const ulong Cr4Pce = 256;
    public const ulong Cr4Osfxsr = 512;
    public const ulong Cr4Osxmmexcpt = 1024;
    public const ulong Cr4Umip = 2048;
    public const ulong Cr4Fsgsbase = 1 << 16;
    public const ulong Cr4Pcide = 1 << 17;
    public const ulong Cr4Osxsave = 1 << 18;
    public const ulong Cr4Smep = 1 << 20;
    public const ulong Cr4Smap = 1 << 21;

    public const ulong EferSyscall = 1;
    public const ulong EferLongModeEnable = 1 << 8;
    public const ulong EferLongModeActive = 1 << 10;
    public const ulong EferNoExecute = 1 << 11;

    /// <summary>Bits of EFER that there are.</summary>
    public const ulong EferSupported = EferSyscall | EferLongModeEnable | EferLongModeActive | EferNoExecute;

    /// <summary>Bits of CR4 that the processor model offers.</summary>
    public const ulong Cr4Supported = Cr4Tsd | Cr4De | Cr4Pse | Cr4Pae | Cr4Mce | Cr4Pge | Cr4Pce | Cr4Osfxsr
        | Cr4Osxmmexcpt | Cr4Umip | Cr4Fsgsbase | Cr4Pcide | Cr4Osxsave | Cr4Smep | Cr4Smap;

    /// <summary>Width of guest physical addresses as CPUID tells it; the bits above are reserved in page tables.</summary>
    public const int PhysicalAddressBits = CpuModel.PhysicalAddressBits;
}
