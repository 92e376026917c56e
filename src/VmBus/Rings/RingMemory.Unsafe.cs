using Vitro.Hypervisor.Vid;

namespace Vitro.VmBus.Rings;

/// <summary>
/// One ring in guest memory: a control page and a data area of whole pages that need not be contiguous
/// (drivers/hv/ring_buffer.c, struct hv_ring_buffer).
/// </summary>
/// <remarks>
/// Host addresses are looked up once; they stay valid while the channel is open. All content is shared with the other
/// side, which may change it at any moment.
/// </remarks>
public sealed unsafe class RingMemory
{
    private const int WriteIndexOffset = 0;
    private const int ReadIndexOffset = 4;
    private const int InterruptMaskOffset = 8;
    private const int PendingSendSizeOffset = 12;
    private const int FeaturesOffset = 64;
    private const int PageSize = GuestMemory.PageSize;

    private readonly GpaSpace _memory;
    private readonly ulong[] _gpas;
    private readonly nint[] _pages;
    private readonly byte* _control;
    private readonly byte* _flatData;

    private RingMemory(GpaSpace memory, ulong[] gpas, nint[] pages)
    {
        _memory = memory;
        _gpas = gpas;
        _pages = pages;
        _control = (byte*)pages[0];
        DataSize = (pages.Length - 1) * PageSize;
        _flatData = (byte*)pages[1];
        for (var i = 2; i < pages.Length; i++)
        {
            if (pages[i] != pages[1] + ((nint)(i - 1) * PageSize))
            {
                _flatData = null;
                break;
            }
        }
    }

    /// <summary>Bytes of the data area.</summary>
    public int DataSize { get; }

    /// <summary>Whether both sides agree on <see cref="PendingSendSize"/>; the guest says so when it sets the ring up.</summary>
    public bool SupportsPendingSendSize
    {
        get => (Volatile.Read(ref Field(FeaturesOffset)) & 1) != 0;
        set => Volatile.Write(ref Field(FeaturesOffset), value ? 1u : 0u);
    }

    internal uint WriteIndex
    {
        get => Volatile.Read(ref Field(WriteIndexOffset));
        set => WriteControl(WriteIndexOffset, value);
    }

    internal uint ReadIndex
    {
        get => Volatile.Read(ref Field(ReadIndexOffset));
        set => WriteControl(ReadIndexOffset, value);
    }

    /// <summary>Set by the reader while it needs no signals.</summary>
    internal uint InterruptMask
    {
        get => Volatile.Read(ref Field(InterruptMaskOffset));
        set => WriteControl(InterruptMaskOffset, value);
    }

    /// <summary>Set by a writer that waits for more than this many bytes to be free.</summary>
    internal uint PendingSendSize
    {
        get => Volatile.Read(ref Field(PendingSendSizeOffset));
        set => WriteControl(PendingSendSizeOffset, value);
    }

    /// <summary>
    /// Maps a ring of at least two pages (a control page and one of data). False when a page is not guest memory or there
    /// are too few or too many.
    /// </summary>
    public static bool TryMap(GpaSpace memory, ReadOnlySpan<ulong> pageNumbers, out RingMemory ring)
    {
        ring = null!;
        if (pageNumbers.Length is < 2 or > 1 << 16)
        {
            return false;
        }

        var gpas = new ulong[pageNumbers.Length];
        var pages = new nint[pageNumbers.Length];
        for (var i = 0; i < pages.Length; i++)
        {
            if (pageNumbers[i] > ulong.MaxValue / PageSize)
            {
                return false;
            }

            gpas[i] = pageNumbers[i] * PageSize;
            if (!memory.TryGetHostAddress(gpas[i], PageSize, GpaAccess.Read | GpaAccess.Write, out pages[i]))
            {
                return false;
            }
        }

        ring = new RingMemory(memory, gpas, pages);
        return true;
    }

    /// <summary>Empties the ring as a guest does before it opens a channel.</summary>
    public void Initialize()
    {
        new Span<byte>(_control, PageSize).Clear();
        SupportsPendingSendSize = true;
        _memory.NotifyWritten(_gpas[0], PageSize);
    }

    /// <summary>Copies out of the data area, round its end. <paramref name="offset"/> is below <see cref="DataSize"/>.</summary>
    internal void CopyOut(uint offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var count = Contiguous(offset, destination.Length, out var source);
            new ReadOnlySpan<byte>(source, count).CopyTo(destination);
            destination = destination[count..];
            offset = Advance(offset, (uint)count);
        }
    }

    /// <summary>Copies into the data area, round its end.</summary>
    internal void CopyIn(uint offset, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            var count = Contiguous(offset, source.Length, out var destination);
            source[..count].CopyTo(new Span<byte>(destination, count));
            NotifyData(offset, count);
            source = source[count..];
            offset = Advance(offset, (uint)count);
        }
    }

    /// <summary>Moves an offset on, round the end.</summary>
    internal uint Advance(uint offset, uint count)
    {
        offset += count;
        return offset >= (uint)DataSize ? offset - (uint)DataSize : offset;
    }

    private int Contiguous(uint offset, int length, out byte* address)
    {
        if (_flatData != null)
        {
            address = _flatData + offset;
            return Math.Min(length, DataSize - (int)offset);
        }

        address = (byte*)_pages[1 + (offset / PageSize)] + (offset % PageSize);
        return Math.Min(length, PageSize - (int)(offset % PageSize));
    }

    // Pages of a ring need not be neighbours in guest physical space even where their host addresses are.
    private void NotifyData(uint offset, int count)
    {
        var last = ((int)offset + count - 1) / PageSize;
        for (var page = (int)offset / PageSize; page <= last; page++)
        {
            _memory.NotifyWritten(_gpas[1 + page], 1);
        }
    }

    private ref uint Field(int offset) => ref *(uint*)(_control + offset);

    private void WriteControl(int offset, uint value)
    {
        Volatile.Write(ref Field(offset), value);
        _memory.NotifyWritten(_gpas[0], 4);
    }
}
