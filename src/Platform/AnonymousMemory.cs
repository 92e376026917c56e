using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vitro.Platform;

/// <summary>
/// Private memory of this process, zero at first, that takes host memory only where touched; in pages of 2 MiB where the host has them.
/// </summary>
/// <remarks>
/// Hosts as a rule give large pages to private memory that asks for them, but not to memory files. On both sides lies a
/// range that nobody may touch, so that the kernel never joins this memory with another's. Thread-safe but for <see cref="Dispose"/>.
/// </remarks>
public sealed unsafe class AnonymousMemory : IDisposable
{
    /// <summary>Bytes of a large page.</summary>
    public const ulong LargePageSize = 2 << 20;

    private const int PageSize = 4096;

    // Of an entry in /proc/self/pagemap: present, or swapped out.
    private const ulong Touched = 3UL << 62;

    private readonly nint _reserved;
    private readonly nuint _reservedLength;
    private readonly SafeFileHandle? _pageMap;
    private bool _isDisposed;

    private AnonymousMemory(nint reserved, nuint reservedLength, nint address, ulong length)
    {
        _reserved = reserved;
        _reservedLength = reservedLength;
        Address = address;
        Length = length;
        try
        {
            _pageMap = File.OpenHandle("/proc/self/pagemap");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then everything counts as touched.
        }
    }

    /// <summary>Host address of the first byte; a multiple of 2 MiB.</summary>
    public nint Address { get; private set; }

    /// <summary>Length in bytes.</summary>
    public ulong Length { get; }

    /// <summary>Reserves zero-filled memory.</summary>
    /// <param name="length">Bytes, a multiple of the page size.</param>
    /// <param name="pages">What the host is to back it with.</param>
    /// <exception cref="PlatformException">The host refuses, for want of memory, large pages or address space, or by its limit of locked memory.</exception>
    public static AnonymousMemory Create(ulong length, MemoryPages pages = MemoryPages.Ordinary)
    {
        var reservedLength = checked((nuint)(length + (3 * LargePageSize)));
        var reserved = Libc.Mmap(0, reservedLength, Libc.ProtNone, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve, -1, 0);
        if (reserved == Libc.MapFailed)
        {
            throw PlatformException.Last("mmap");
        }

        var address = (nint)(((ulong)reserved + (2 * LargePageSize) - 1) & ~(LargePageSize - 1));
        if (TryMap(address, length, pages) is { } error)
        {
            _ = Libc.Munmap(reserved, reservedLength);
            throw error;
        }

        return new AnonymousMemory(reserved, reservedLength, address, length);
    }

    /// <summary>
    /// Whether a range may hold anything but zeros; asking does not touch it. Memory that shares a large page with what was written counts as
    /// touched.
    /// </summary>
    public bool IsTouched(ulong offset, ulong length)
    {
        CheckRange(offset, length);
        if (_pageMap == null)
        {
            return length != 0;
        }

        Span<ulong> entries = stackalloc ulong[64];
        var page = ((ulong)Address + offset) / PageSize;
        var end = ((ulong)Address + offset + length + PageSize - 1) / PageSize;
        while (page < end)
        {
            var part = entries[..(int)Math.Min(end - page, (ulong)entries.Length)];
            var bytes = MemoryMarshal.AsBytes(part);
            if (RandomAccess.Read(_pageMap, bytes, (long)page * sizeof(ulong)) != bytes.Length)
            {
                return true;
            }

            foreach (var entry in part)
            {
                if ((entry & Touched) != 0)
                {
                    return true;
                }
            }

            page += (ulong)part.Length;
        }

        return false;
    }

    /// <summary>Copies from the memory.</summary>
    public void Read(ulong offset, Span<byte> bytes)
    {
        CheckRange(offset, (ulong)bytes.Length);
        new ReadOnlySpan<byte>((byte*)Address + offset, bytes.Length).CopyTo(bytes);
    }

    /// <summary>Copies into the memory.</summary>
    public void Write(ulong offset, ReadOnlySpan<byte> bytes)
    {
        CheckRange(offset, (ulong)bytes.Length);
        bytes.CopyTo(new Span<byte>((byte*)Address + offset, bytes.Length));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_isDisposed)
        {
            _isDisposed = true;
            _ = Libc.Munmap(_reserved, _reservedLength);
            _pageMap?.Dispose();
            Address = 0;
        }
    }

    private static PlatformException? TryMap(nint address, ulong length, MemoryPages pages)
    {
        // Large pages that the host sets apart are reserved by the mapping, so that a machine which begins has all of them.
        var isLarge = pages == MemoryPages.Large;
        var kind = isLarge ? Libc.MapLargePages : Libc.MapNoReserve;
        if (Libc.Mmap(
            address, (nuint)length, Libc.ProtRead | Libc.ProtWrite, Libc.MapPrivate | Libc.MapAnonymous | Libc.MapFixed | kind, -1, 0) == Libc.MapFailed)
        {
            return PlatformException.Last(isLarge ? $"mmap of {length / LargePageSize} large pages" : "mmap");
        }

        // Best effort: without large pages the memory is the same.
        _ = Libc.Madvise(address, (nuint)length, Libc.MadvHugePage);
        return pages == MemoryPages.Locked && Libc.Mlock(address, (nuint)length) != 0 ? PlatformException.Last("mlock") : null;
    }

    private void CheckRange(ulong offset, ulong length)
    {
        if (offset > Length || length > Length - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset));
        }
    }
}

/// <summary>What the host backs memory with.</summary>
public enum MemoryPages
{
    /// <summary>Pages that it gives when they are touched and may swap; large ones by itself where it has them.</summary>
    Ordinary,

    /// <summary>Large pages that the host has set apart (hugetlb), all of them reserved at once; never swapped.</summary>
    Large,

    /// <summary>Ordinary pages, all of them given at once; never swapped.</summary>
    Locked,
}
