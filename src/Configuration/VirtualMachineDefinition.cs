namespace Vitro.Configuration;

/// <summary>What a virtual machine is made of: all that is needed to build it, and nothing of how it runs.</summary>
public sealed record VirtualMachineDefinition
{
    /// <summary>Version of this record's layout in files.</summary>
    public int Version { get; init; } = 1;

    /// <summary>Name as users see it; letters, digits, spaces, dots, dashes and underscores, at most 100 characters.</summary>
    public required string Name { get; init; }

    /// <summary>Stable identity; the guest sees it as its SMBIOS UUID.</summary>
    public Guid Id { get; init; } = Guid.NewGuid();

    /// <summary>RAM in bytes, a multiple of 2 MiB.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>What the host backs the RAM with; nothing of it is the guest's to see, or saved.</summary>
    public MemoryBacking MemoryBacking { get; init; }

    /// <summary>Number of virtual processors, 1 to 64.</summary>
    public int ProcessorCount { get; init; } = 1;

    /// <summary>Which engine runs it.</summary>
    public EngineChoice Engine { get; init; } = EngineChoice.Auto;

    /// <summary>Name of the processor model the guest sees; null is the engine's default.</summary>
    public string? ProcessorModel { get; init; }

    /// <summary>What is booted.</summary>
    public required LinuxBootDefinition Boot { get; init; }

    /// <summary>Disks on the synthetic SCSI controller, LUN by position.</summary>
    public IReadOnlyList<DiskDefinition> Disks { get; init; } = [];

    /// <summary>Adds the ISA debug-exit device at port 0xF4, for test kernels.</summary>
    public bool HasDebugExit { get; init; }
}

/// <summary>What a machine's RAM is made of on the host.</summary>
public enum MemoryBacking
{
    /// <summary>Memory that the host gives when the guest touches it, and may swap.</summary>
    Ordinary,

    /// <summary>Large pages that the host has reserved, all of them from the start.</summary>
    LargePages,

    /// <summary>Memory that the host gives at the start and never swaps.</summary>
    Locked,
}

/// <summary>Which engine runs a machine.</summary>
public enum EngineChoice
{
    /// <summary>The fastest that this host can use.</summary>
    Auto,

    /// <summary>The KVM engine.</summary>
    Kvm,

    /// <summary>The software engine.</summary>
    Software,
}

/// <summary>A kernel booted directly.</summary>
public sealed record LinuxBootDefinition
{
    /// <summary>Path of a bzImage, a PVH ELF or a multiboot-1 ELF file.</summary>
    public required string Kernel { get; init; }

    /// <summary>Initial RAM disk, or multiboot modules; a Linux kernel gets them concatenated.</summary>
    public IReadOnlyList<string> Initrd { get; init; } = [];

    /// <summary>Kernel command line.</summary>
    public string CommandLine { get; init; } = "";
}

/// <summary>A disk file.</summary>
/// <param name="Path">Path of the image.</param>
/// <param name="ReadOnly">The guest may not write.</param>
public sealed record DiskDefinition(string Path, bool ReadOnly = false);
