namespace Vitro.Firmware.LinuxBoot;

/// <summary>What to boot without firmware: a kernel, its modules and its command line.</summary>
public sealed record BootOptions
{
    /// <summary>A bzImage, or an ELF file with a PVH note or a multiboot header.</summary>
    public required string KernelPath { get; init; }

    /// <summary>Initial RAM disk of a Linux kernel (at most one), or the modules of a PVH or multiboot kernel in order.</summary>
    public IReadOnlyList<string> InitrdPaths { get; init; } = [];

    /// <summary>Kernel command line, without a terminating zero.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Guest physical address of the ACPI root pointer; 0 lets the kernel search 0xE0000 to 0xFFFFF.</summary>
    public ulong RsdpAddress { get; init; }

    /// <summary>
    /// Unpacks a compressed kernel on the host and enters it directly, which saves the guest billions of instructions. The
    /// guest's own decompressor runs when this is off or the format is unknown; only then can it choose a random address.
    /// </summary>
    public bool UnpackOnHost { get; init; } = true;
}
