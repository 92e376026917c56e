namespace Vitro.Firmware.LinuxBoot;

/// <summary>
/// Where the loaders put what a kernel finds at its entry. Everything lies in the first 640 KiB, which kernels leave alone
/// until they have taken over the structures; Linux copies its parameters and command line before it uses this memory.
/// </summary>
internal static class BootLayout
{
    /// <summary>Word with the segment of the extended BIOS data area.</summary>
    internal const ulong BiosEbdaSegment = 0x40E;

    /// <summary>Word with the KiB of base memory.</summary>
    internal const ulong BiosBaseMemorySize = 0x413;

    /// <summary>Global descriptor table.</summary>
    internal const ulong Gdt = 0x1000;

    /// <summary>Start information of PVH or multiboot, with memory map and module list behind it.</summary>
    internal const ulong StartInfo = 0x2000;

    /// <summary>Bytes for <see cref="StartInfo"/> and what follows it.</summary>
    internal const ulong StartInfoSize = 0x4000;

    /// <summary>Linux boot parameters, one page.</summary>
    internal const ulong BootParameters = 0x7000;

    /// <summary>Page tables that map the first 4 GiB one to one: six pages.</summary>
    internal const ulong PageTables = 0x9000;

    /// <summary>A stack for entries that expect one; grows down from here.</summary>
    internal const ulong StackTop = 0x1_8000;

    /// <summary>Command line with its terminating zero.</summary>
    internal const ulong CommandLine = 0x2_0000;

    /// <summary>Bytes for the command line.</summary>
    internal const ulong CommandLineSize = 0x1_0000;

    /// <summary>First byte of the extended BIOS data area, where usable base memory ends.</summary>
    internal const ulong BaseMemoryEnd = 0x9_FC00;

    /// <summary>First byte that firmware tables may use, up to <see cref="HighMemory"/>.</summary>
    internal const ulong FirmwareTables = 0xE_0000;

    /// <summary>First byte above the first MiB, where modules and kernels lie.</summary>
    internal const ulong HighMemory = 0x10_0000;
}
