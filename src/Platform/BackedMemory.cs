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

    /// <summary>Allocates memory of zeros, which the host backs by large pages, where it has any, as it is touched.</summary>
    /// <param name="length">Bytes, a multiple of the page size.</param>
    /// <exception cref="OutOfMemoryException">The host has no more.</exception>
    public static void* AllocateZeroed(nuint length)
    {
        var reserved = Libc.Mmap(
            0, length + LargePage, Libc.ProtRead | Libc.ProtWrite, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1, 0);
        if (reserved == Libc.MapFailed)
        {
            throw new OutOfMemoryException($"The host has no {length >> 20} MiB of memory left.");
        }

        var start = (nint)(((nuint)reserved + LargePage - 1) & ~(LargePage - 1));
        Unmap(reserved, start);
        Unmap(start + (nint)length, reserved + (nint)(length + LargePage));
        _ = Libc.Madvise(start, length, Libc.MadvHugePage);
        return (void*)start;
    }

    /// <summary>Frees what <see cref="AllocateZeroed"/> gave; null is nothing.</summary>
    public static void FreeZeroed(void* memory, nuint length)
    {
        if (memory != null)
        {
            _ = Libc.Munmap((nint)memory, length);
        }
    }

    /// <summary>Backs a range of pages; hosts that cannot (Linux before 5.14) back them as they are touched.</summary>
    /// <param name="start">A multiple of the page size.</param>
    /// <param name="length">Bytes.</param>
    public static void Populate(void* start, nuint length) => _ = Libc.Madvise((nint)start, length, Libc.MadvPopulateWrite);

    /// <summary>Frees what <see cref="AllocateLarge"/> gave; null is nothing.</summary>
    public static void Free(void* memory) => NativeMemory.AlignedFree(memory);

    /// <summary>Gives back a mapped range, which may be empty.</summary>
    internal static void Unmap(nint start, nint end)
    {
        if (start < end)
        {
            _ = Libc.Munmap(start, (nuint)(end - start));
        }
    }
}
