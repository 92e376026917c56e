using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>The block allocation table of an open file, read page by page when first asked for.</summary>
/// <remarks>Reading needs no lock; <see cref="Set"/> and <see cref="TakeDirty"/> are called under the disk's gate.</remarks>
internal sealed class BlockAllocationTable
{
    private const int EntriesPerPage = VhdxLayout.PageSize / BatGeometry.EntrySize;

    private readonly IDiskFile _file;
    private readonly long _offset;
    private readonly ulong[]?[] _pages;
    private readonly SortedSet<int> _dirty = [];

    internal BlockAllocationTable(IDiskFile file, long offset, long entries)
    {
        _file = file;
        _offset = offset;
        Entries = entries;
        _pages = new ulong[]?[(entries + EntriesPerPage - 1) / EntriesPerPage];
    }

    internal long Entries { get; }

    internal bool IsDirty => _dirty.Count > 0;

    internal BatEntry this[long index]
    {
        get
        {
            var page = Volatile.Read(ref _pages[index / EntriesPerPage]) ?? Load((int)(index / EntriesPerPage));
            return new BatEntry(Volatile.Read(ref page[index % EntriesPerPage]));
        }
    }

    /// <summary>Where an entry is in the file.</summary>
    internal long OffsetOf(long index) => _offset + (index * BatGeometry.EntrySize);

    internal void Set(long index, BatEntry entry)
    {
        var number = (int)(index / EntriesPerPage);
        var page = Volatile.Read(ref _pages[number]) ?? Load(number);
        Volatile.Write(ref page[index % EntriesPerPage], entry.Value);
        _dirty.Add(number);
    }

    /// <summary>Adds copies of the changed pages, last first, and forgets that they changed.</summary>
    /// <remarks>Last first because a bitmap's entry follows the blocks it serves and must never be missing when they are there.</remarks>
    internal void TakeDirty(List<LogPage> pages)
    {
        foreach (var number in _dirty.Reverse())
        {
            var content = new byte[VhdxLayout.PageSize];
            Encode(_pages[number]!, content);
            pages.Add(new LogPage(_offset + ((long)number * VhdxLayout.PageSize), content));
        }

        _dirty.Clear();
    }

    private static void Encode(ulong[] entries, Span<byte> target)
    {
        for (var i = 0; i < entries.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(target[(i * BatGeometry.EntrySize)..], entries[i]);
        }
    }

    private ulong[] Load(int number)
    {
        var page = new ulong[EntriesPerPage];
        var bytes = MemoryMarshal.AsBytes(page.AsSpan());
        var offset = _offset + ((long)number * VhdxLayout.PageSize);
        if (_file.Read(offset, bytes) != bytes.Length)
        {
            throw new DiskDamagedException(_file.Path, "VHDX block allocation table", offset, "the file ends inside it");
        }

        if (!BitConverter.IsLittleEndian)
        {
            BinaryPrimitives.ReverseEndianness(page, page);
        }

        // Two readers may load the same page; the first to publish wins, and writers only ever change a published page.
        return Interlocked.CompareExchange(ref _pages[number], page, null) ?? page;
    }
}
