using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Vid;

/// <summary>
/// Guest physical address space: which ranges are backed by host memory, checked access to them for devices, and the
/// page marks that tell engines of writes by the host.
/// </summary>
/// <remarks>
/// Lookups and accesses are lock-free and may run on any thread. Guest memory changes under the host's hands at any
/// time: copy once, then validate. Spans and memories stay valid until the region is unmapped; devices are stopped before
/// that. Every host write goes through <see cref="TryWrite"/> or is followed by <see cref="NotifyWritten"/>.
/// </remarks>
public sealed unsafe class GpaSpace : IDisposable
{
    private readonly Lock _gate = new();
    private readonly GuestMemory _ram;
    private readonly byte* _pageFlags;
    private readonly Dictionary<nint, MappedMemoryManager[]> _managers = [];
    private GpaRegion[] _regions = [];
    private IGpaObserver[] _observers = [];

    /// <summary>Creates the space with the machine's RAM mapped.</summary>
    public GpaSpace(GuestMemory ram)
    {
        _ram = ram;
        _pageFlags = (byte*)NativeMemory.AllocZeroed((nuint)(ram.Size / GuestMemory.PageSize));
        Map(new GpaRegion(0, ram.LowRamSize, ram.Host.Address, GpaAccess.All));
        if (ram.HighRamSize > 0)
        {
            Map(new GpaRegion(GuestMemory.HighRamBase, ram.HighRamSize, ram.Host.Address + (nint)ram.LowRamSize, GpaAccess.All));
        }
    }

    /// <summary>The mapped regions, sorted by address. The array is never changed, only replaced.</summary>
    public IReadOnlyList<GpaRegion> Regions => Volatile.Read(ref _regions);

    /// <summary>The machine's RAM.</summary>
    public GuestMemory Ram => _ram;

    /// <summary>Adds an engine to be told of changes.</summary>
    public void Attach(IGpaObserver observer)
    {
        lock (_gate)
        {
            _observers = [.. _observers, observer];
        }
    }

    /// <summary>Maps a region.</summary>
    /// <exception cref="ArgumentException">It overlaps another or is not page aligned.</exception>
    public void Map(GpaRegion region)
    {
        if (region.Start % GuestMemory.PageSize != 0 || region.Length % GuestMemory.PageSize != 0 || region.Length == 0)
        {
            throw new ArgumentException("A GPA region is made of whole pages.", nameof(region));
        }

        lock (_gate)
        {
            foreach (var other in _regions)
            {
                if (region.Start < other.End && other.Start < region.End)
                {
                    throw new ArgumentException($"GPA range 0x{region.Start:x} overlaps 0x{other.Start:x}.", nameof(region));
                }
            }

            GpaRegion[] regions = [.. _regions, region];
            Array.Sort(regions, static (a, b) => a.Start.CompareTo(b.Start));
            _managers[region.HostAddress] = MappedMemoryManager.Cover(region.HostAddress, region.Length);
            Volatile.Write(ref _regions, regions);
        }

        NotifyRegionsChanged();
    }

    /// <summary>Removes the region that starts at <paramref name="start"/>; nothing happens when there is none.</summary>
    public void Unmap(ulong start)
    {
        lock (_gate)
        {
            Volatile.Write(ref _regions, Array.FindAll(_regions, region => region.Start != start));
        }

        NotifyRegionsChanged();
    }

    /// <summary>Finds the region that holds a GPA.</summary>
    public GpaRegion? Find(ulong gpa)
    {
        foreach (var region in Volatile.Read(ref _regions))
        {
            if (gpa - region.Start < region.Length)
            {
                return region;
            }
        }

        return null;
    }

    /// <summary>
    /// Finds the host address of a range that lies in one region and allows <paramref name="access"/>. The host has the
    /// right to read and write either way; the access asked for is the guest's.
    /// </summary>
    public bool TryGetHostAddress(ulong gpa, ulong length, GpaAccess access, out nint address)
    {
        var region = Find(gpa);
        if (region is null || (region.Access & access) != access || length > region.Length - (gpa - region.Start))
        {
            address = 0;
            return false;
        }

        address = Present(region, gpa, length);
        return true;
    }

    /// <summary>A range of RAM by its offset in the machine's memory, whatever its guest physical address.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is not inside the RAM.</exception>
    public Span<byte> GetRam(ulong offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (offset > _ram.Size || (ulong)length > _ram.Size - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset));
        }

        _ram.EnsurePresent(offset, (ulong)length);
        return new Span<byte>((void*)(_ram.Host.Address + (nint)offset), length);
    }

    /// <summary>Finds a range as a span; false when it is not wholly in one mapped region.</summary>
    public bool TryGetSpan(ulong gpa, int length, out Span<byte> span)
    {
        if (length < 0 || !TryGetHostAddress(gpa, (ulong)length, GpaAccess.Read, out var address))
        {
            span = default;
            return false;
        }

        span = new Span<byte>((void*)address, length);
        return true;
    }

    /// <summary>
    /// Finds a range as memory for asynchronous I/O without allocating. False when the range is not wholly in one mapped
    /// region or crosses a multiple of 1 GiB of it; callers split at page borders, so they never notice.
    /// </summary>
    public bool TryGetMemory(ulong gpa, int length, out Memory<byte> memory)
    {
        memory = default;
        var region = Find(gpa);
        if (region is null || length < 0 || (ulong)length > region.Length - (gpa - region.Start))
        {
            return false;
        }

        MappedMemoryManager[]? managers;
        lock (_gate)
        {
            if (!_managers.TryGetValue(region.HostAddress, out managers))
            {
                return false;
            }
        }

        var offset = gpa - region.Start;
        var chunk = (int)(offset / MappedMemoryManager.ChunkSize);
        var inChunk = (int)(offset % MappedMemoryManager.ChunkSize);
        if (inChunk + (long)length > managers[chunk].Memory.Length)
        {
            return false;
        }

        Present(region, gpa, (ulong)length);
        memory = managers[chunk].Memory.Slice(inChunk, length);
        return true;
    }

    /// <summary>Copies from guest memory; ranges may span adjacent regions. False when any byte is unmapped.</summary>
    public bool TryRead(ulong gpa, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var region = Find(gpa);
            if (region is null)
            {
                return false;
            }

            var count = (int)Math.Min((ulong)destination.Length, region.End - gpa);
            new ReadOnlySpan<byte>((void*)Present(region, gpa, (ulong)count), count).CopyTo(destination);
            destination = destination[count..];
            gpa += (ulong)count;
        }

        return true;
    }

    /// <summary>Copies into guest memory and marks the pages written. False when any byte is unmapped; bytes before it are written.</summary>
    public bool TryWrite(ulong gpa, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            var region = Find(gpa);
            if (region is null)
            {
                return false;
            }

            var count = (int)Math.Min((ulong)source.Length, region.End - gpa);
            source[..count].CopyTo(new Span<byte>((void*)Present(region, gpa, (ulong)count), count));
            NotifyWritten(gpa, (ulong)count);
            source = source[count..];
            gpa += (ulong)count;
        }

        return true;
    }

    /// <summary>
    /// To be called by engines before they touch a range of the host's memory that they found through <see cref="Regions"/>;
    /// what is not RAM is always there.
    /// </summary>
    public void EnsurePresent(nint hostAddress, ulong length)
    {
        var offset = (ulong)(hostAddress - _ram.Host.Address);
        if (offset < _ram.Size)
        {
            _ram.EnsurePresent(offset, length);
        }
    }

    /// <summary>
    /// Marks RAM pages dirty and lets engines drop code of them. To be called after each host write that did not go
    /// through <see cref="TryWrite"/>.
    /// </summary>
    public void NotifyWritten(ulong gpa, ulong length)
    {
        if (length == 0)
        {
            return;
        }

        var first = gpa / GuestMemory.PageSize;
        var last = (gpa + length - 1) / GuestMemory.PageSize;
        var code = false;
        for (var page = first; page <= last; page++)
        {
            var flags = PageFlags(page * GuestMemory.PageSize);
            if (flags != null)
            {
                if ((*flags & (byte)GpaPageFlags.HasCode) != 0)
                {
                    code = true;
                }

                if ((*flags & (byte)GpaPageFlags.Dirty) == 0)
                {
                    SetPageFlag(flags, GpaPageFlags.Dirty);
                }
            }
        }

        if (code)
        {
            foreach (var observer in _observers)
            {
                observer.OnCodePageWritten(gpa, length);
            }
        }
    }

    /// <summary>
    /// The page marks of the RAM page that holds <paramref name="gpa"/>, for engines; null outside RAM. Change them with
    /// <see cref="SetPageFlag"/> and <see cref="ClearPageFlag"/> only.
    /// </summary>
    public byte* PageFlags(ulong gpa)
    {
        if (gpa < _ram.LowRamSize)
        {
            return _pageFlags + (gpa / GuestMemory.PageSize);
        }

        var high = gpa - GuestMemory.HighRamBase;
        return gpa >= GuestMemory.HighRamBase && high < _ram.HighRamSize
            ? _pageFlags + ((_ram.LowRamSize + high) / GuestMemory.PageSize)
            : null;
    }

    /// <summary>Sets a page mark atomically.</summary>
    public static void SetPageFlag(byte* flags, GpaPageFlags flag)
    {
        byte old;
        do
        {
            old = Volatile.Read(ref *flags);
        }
        while (Interlocked.CompareExchange(ref *flags, (byte)(old | (byte)flag), old) != old);
    }

    /// <summary>Clears a page mark atomically.</summary>
    public static void ClearPageFlag(byte* flags, GpaPageFlags flag)
    {
        byte old;
        do
        {
            old = Volatile.Read(ref *flags);
        }
        while (Interlocked.CompareExchange(ref *flags, (byte)(old & ~(byte)flag), old) != old);
    }

    /// <summary>
    /// Takes the dirty marks of all RAM pages: those that are marked are added to a bitmap, and their marks cleared. For engines, which then
    /// see to it that processors mark pages anew. What other host threads had written to a page before it was taken is visible afterwards;
    /// what they write later marks it again.
    /// </summary>
    /// <param name="pages">A bit for each page in the order of <see cref="GuestMemory"/>, low RAM first; bits already set stay.</param>
    /// <exception cref="ArgumentException">It has fewer bits than there are pages.</exception>
    public void TakeDirtyPages(Span<ulong> pages)
    {
        const ulong Marks = (ulong)GpaPageFlags.Dirty * 0x0101_0101_0101_0101;
        var count = (int)(_ram.Size / GuestMemory.PageSize);
        if (pages.Length * 64L < count)
        {
            throw new ArgumentException($"A bitmap of {pages.Length} words has no room for {count} pages.", nameof(pages));
        }

        for (var first = 0; first < count; first += sizeof(ulong))
        {
            var left = Math.Min(sizeof(ulong), count - first);
            if (left == sizeof(ulong) && (Volatile.Read(ref *(ulong*)(_pageFlags + first)) & Marks) == 0)
            {
                continue;
            }

            for (var page = first; page < first + left; page++)
            {
                if ((Volatile.Read(ref _pageFlags[page]) & (byte)GpaPageFlags.Dirty) != 0)
                {
                    ClearPageFlag(_pageFlags + page, GpaPageFlags.Dirty);
                    pages[page / 64] |= 1UL << (page % 64);
                }
            }
        }

        // Whoever writes and then finds the mark still set has its writes seen by all from here on.
        Interlocked.MemoryBarrierProcessWide();
    }

    /// <inheritdoc/>
    public void Dispose() => NativeMemory.Free(_pageFlags);

    /// <summary>The host address of a range of a region, with its content there.</summary>
    private nint Present(GpaRegion region, ulong gpa, ulong length)
    {
        var address = region.HostAddress + (nint)(gpa - region.Start);
        EnsurePresent(address, length);
        return address;
    }

    private void NotifyRegionsChanged()
    {
        foreach (var observer in _observers)
        {
            observer.OnRegionsChanged();
        }
    }
}
