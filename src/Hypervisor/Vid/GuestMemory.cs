using Vitro.Platform;

namespace Vitro.Hypervisor.Vid;

/// <summary>The RAM of one virtual machine: one memory file, laid out in guest physical space below and above the 32-bit hole.</summary>
public sealed class GuestMemory : IDisposable
{
    /// <summary>Guest page size in bytes.</summary>
    public const int PageSize = 4096;

    /// <summary>RAM below 4 GiB ends here at the latest; above it lie the VMBus MMIO window and the chipset.</summary>
    public const ulong LowRamLimit = 0xF800_0000;

    /// <summary>RAM that does not fit below <see cref="LowRamLimit"/> starts here.</summary>
    public const ulong HighRamBase = 0x1_0000_0000;

    private GuestMemory(MemoryFile file)
    {
        File = file;
        LowRamSize = Math.Min(file.Length, LowRamLimit);
        HighRamSize = file.Length - LowRamSize;
    }

    /// <summary>The memory file behind the RAM; offset 0 is GPA 0.</summary>
    public MemoryFile File { get; }

    /// <summary>Bytes of RAM from GPA 0.</summary>
    public ulong LowRamSize { get; }

    /// <summary>Bytes of RAM from <see cref="HighRamBase"/>.</summary>
    public ulong HighRamSize { get; }

    /// <summary>Bytes of RAM in all.</summary>
    public ulong Size => File.Length;

    /// <summary>Creates zeroed RAM.</summary>
    /// <param name="size">Bytes, a multiple of 4 KiB, at least 1 MiB.</param>
    public static GuestMemory Create(ulong size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1UL << 20);
        if (size % PageSize != 0)
        {
            throw new ArgumentException("Guest memory is made of whole 4 KiB pages.", nameof(size));
        }

        return new GuestMemory(MemoryFile.Create("vitro-guest-ram", size));
    }

    /// <inheritdoc/>
    public void Dispose() => File.Dispose();
}
