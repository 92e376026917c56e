using Vitro.Platform;

namespace Vitro.Hypervisor.Vid;

/// <summary>The RAM of one virtual machine: private to the process and laid out in guest physical space below and above the 32-bit hole.</summary>
public sealed class GuestMemory : IDisposable
{
    /// <summary>Guest page size in bytes.</summary>
    public const int PageSize = 4096;

    /// <summary>RAM below 4 GiB ends here at the latest; above it lie the VMBus MMIO window and the chipset.</summary>
    public const ulong LowRamLimit = 0xF800_0000;

    /// <summary>RAM that does not fit below <see cref="LowRamLimit"/> starts here.</summary>
    public const ulong HighRamBase = 0x1_0000_0000;

    private IRamSource? _source;

    private GuestMemory(AnonymousMemory host)
    {
        Host = host;
        LowRamSize = Math.Min(host.Length, LowRamLimit);
        HighRamSize = host.Length - LowRamSize;
    }

    /// <summary>The host's memory behind the RAM; offset 0 is GPA 0.</summary>
    public AnonymousMemory Host { get; }

    /// <summary>Bytes of RAM from GPA 0.</summary>
    public ulong LowRamSize { get; }

    /// <summary>Bytes of RAM from <see cref="HighRamBase"/>.</summary>
    public ulong HighRamSize { get; }

    /// <summary>Bytes of RAM in all.</summary>
    public ulong Size => Host.Length;

    /// <summary>Creates zeroed RAM.</summary>
    /// <param name="size">Bytes, a multiple of 4 KiB, at least 1 MiB; of 2 MiB with large pages.</param>
    /// <param name="pages">What the host is to back it with.</param>
    public static GuestMemory Create(ulong size, MemoryPages pages = MemoryPages.Ordinary)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1UL << 20);
        if (size % PageSize != 0)
        {
            throw new ArgumentException("Guest memory is made of whole 4 KiB pages.", nameof(size));
        }

        return new GuestMemory(AnonymousMemory.Create(size, pages));
    }

    /// <summary>Names where the content comes from that is not there yet. Before the machine's first start.</summary>
    /// <param name="source">Owned from here on; it calls <see cref="Complete"/> when it has nothing left.</param>
    public void SetSource(IRamSource source)
    {
        if (Interlocked.CompareExchange(ref _source, source, null) is not null)
        {
            throw new InvalidOperationException("The memory has a source already.");
        }
    }

    /// <summary>Everything is in the memory: nobody asks the source any more.</summary>
    public void Complete() => Volatile.Write(ref _source, null);

    /// <summary>
    /// To be called before a range is touched for the first time, by devices (<see cref="GpaSpace"/> does it for them) and by
    /// engines that say they do (<see cref="Engine.IPartition.AsksForRam"/>). Costs nothing once all is there.
    /// </summary>
    /// <param name="offset">Byte in the memory.</param>
    /// <param name="length">Bytes; the range lies inside it.</param>
    public void EnsurePresent(ulong offset, ulong length) => Volatile.Read(ref _source)?.Fill(offset, length);

    /// <inheritdoc/>
    public void Dispose()
    {
        Interlocked.Exchange(ref _source, null)?.Dispose();
        Host.Dispose();
    }
}
