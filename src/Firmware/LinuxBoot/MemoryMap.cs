using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>What a range of guest physical addresses is, with the numbers of E820.</summary>
public enum MemoryKind : uint
{
    /// <summary>Usable RAM.</summary>
    Ram = 1,

    /// <summary>Not for the kernel.</summary>
    Reserved = 2,
}

/// <summary>One range of the memory map.</summary>
/// <param name="Start">First address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Kind">What it is.</param>
public readonly record struct MemoryMapEntry(ulong Start, ulong Length, MemoryKind Kind)
{
    /// <summary>The address after the last.</summary>
    public ulong End => Start + Length;
}

/// <summary>The memory map that a kernel is given: RAM with the first MiB cut up as on every PC.</summary>
public static class MemoryMap
{
    /// <summary>Describes a guest's RAM; the VMBus MMIO window and the chipset stay out of the map, as they are no memory.</summary>
    public static IReadOnlyList<MemoryMapEntry> Describe(GuestMemory ram)
    {
        var map = new List<MemoryMapEntry>
        {
            new(0, Math.Min(ram.LowRamSize, BootLayout.BaseMemoryEnd), MemoryKind.Ram),
            new(BootLayout.BaseMemoryEnd, 0xA_0000 - BootLayout.BaseMemoryEnd, MemoryKind.Reserved),
            new(BootLayout.FirmwareTables, BootLayout.HighMemory - BootLayout.FirmwareTables, MemoryKind.Reserved),
        };
        if (ram.LowRamSize > BootLayout.HighMemory)
        {
            map.Add(new(BootLayout.HighMemory, ram.LowRamSize - BootLayout.HighMemory, MemoryKind.Ram));
        }

        if (ram.HighRamSize > 0)
        {
            map.Add(new(GuestMemory.HighRamBase, ram.HighRamSize, MemoryKind.Ram));
        }

        return map;
    }
}
