using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>Memory of which much is touched, backed by the host at once rather than by a fault for each page. Any thread.</summary>
public static unsafe class BackedMemory
{
    private const nuint LargePage = 2 << 20;

    /// <summary>
    /// Allocates memory whose content is undefined, backed by large pages where the host has any: one fault instead of hundreds when it is
    /// touched, and fewer misses in the host's TLB.
    /// </summary>
    /// <param name="length">Bytes. What is not a multiple of 2 MiB is wasted where large pages are used.</param>
    /// <exception cref="OutOfMemoryException">The host has no more.</exception>
    public static void* AllocateLarge(nuint length)
    {
        var memory = NativeMemory.AlignedAlloc(length, LargePage);

        // Best effort: without them the memory is the same.
        _ = Libc.Madvise((nint)memory, length, Libc.MadvHugePage);
        return memory;
    }

    /// <summary>Backs a range of pages; hosts that cannot (Linux before 5.14) back them as they are touched.</summary>
    /// <param name="start">A multiple of the page size.</param>
    /// <param name="length">Bytes.</param>
    public static void Populate(void* start, nuint length) => _ = Libc.Madvise((nint)start, length, Libc.MadvPopulateWrite);

    /// <summary>Frees what was allocated here; null is nothing.</summary>
    public static void Free(void* memory) => NativeMemory.AlignedFree(memory);
}
