using System.Collections.Concurrent;
using System.Numerics;
using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>The sector bitmap blocks of a differencing disk ([MS-VHDX] 2.4), read page by page when first asked for.</summary>
/// <remarks>Bits are numbered by the disk's sectors. Reading needs no lock; changes are made under the disk's gate.</remarks>
internal sealed class SectorBitmaps(IDiskFile file, Func<long, long> bitmapBlockOffset)
{
    private const int BitsPerPage = VhdxLayout.PageSize * 8;
    private const long PagesPerBlock = BatGeometry.SectorsPerBitmapBlock / BitsPerPage;

    private readonly ConcurrentDictionary<long, byte[]> _pages = new();
    private readonly SortedSet<long> _dirty = [];

    internal bool IsDirty => _dirty.Count > 0;

    /// <summary>The bit of a sector, and how many from it on have the same.</summary>
    internal bool Run(long sector, int limit, out int count)
    {
        var page = Page(sector / BitsPerPage);
        var bit = (int)(sector % BitsPerPage);
        var value = Bit(page, bit);
        count = 1;
        while (count < limit)
        {
            var next = (int)((sector + count) % BitsPerPage);
            if (next == 0)
            {
                page = Page((sector + count) / BitsPerPage);
            }

            if ((next & 7) == 0 && limit - count >= 8 && Volatile.Read(ref page[next >> 3]) == (value ? 0xFF : 0))
            {
                count += 8;
            }
            else if (Bit(page, next) == value)
            {
                count++;
            }
            else
            {
                break;
            }
        }

        return value;
    }

    internal void Fill(long sector, long count, bool value)
    {
        for (var end = sector + count; sector < end;)
        {
            var number = sector / BitsPerPage;
            var page = Page(number);
            var bit = (int)(sector % BitsPerPage);
            var until = (int)Math.Min(BitsPerPage, bit + (end - sector));
            sector += until - bit;
            for (; bit < until && (bit & 7) != 0; bit++)
            {
                SetBit(page, bit, value);
            }

            var bytes = (until - bit) / 8;
            if (bytes > 0)
            {
                page.AsSpan(bit / 8, bytes).Fill(value ? (byte)0xFF : (byte)0);
                bit += bytes * 8;
            }

            for (; bit < until; bit++)
            {
                SetBit(page, bit, value);
            }

            _dirty.Add(number);
        }
    }

    internal void TakeDirty(List<LogPage> pages)
    {
        foreach (var number in _dirty)
        {
            pages.Add(new LogPage(PageOffset(number), _pages[number].ToArray()));
        }

        _dirty.Clear();
    }

    /// <summary>A bitmap block has just been allocated: its pages are zero, whatever the file held there.</summary>
    internal void StartBlock(long chunk)
    {
        for (var page = chunk * PagesPerBlock; page < (chunk + 1) * PagesPerBlock; page++)
        {
            _pages.TryRemove(page, out _);
        }
    }

    internal static int CountSet(ReadOnlySpan<byte> bitmap)
    {
        var count = 0;
        foreach (var value in bitmap)
        {
            count += BitOperations.PopCount(value);
        }

        return count;
    }

    private static bool Bit(byte[] page, int bit) => (Volatile.Read(ref page[bit >> 3]) & (1 << (bit & 7))) != 0;

    private static void SetBit(byte[] page, int bit, bool value)
    {
        var mask = (byte)(1 << (bit & 7));
        Volatile.Write(ref page[bit >> 3], (byte)(value ? page[bit >> 3] | mask : page[bit >> 3] & ~mask));
    }

    private long PageOffset(long number) => bitmapBlockOffset(number / PagesPerBlock) + (number % PagesPerBlock * VhdxLayout.PageSize);

    private byte[] Page(long number)
    {
        if (_pages.TryGetValue(number, out var page))
        {
            return page;
        }

        page = new byte[VhdxLayout.PageSize];
        var offset = PageOffset(number);
        return file.Read(offset, page) == page.Length
            ? _pages.GetOrAdd(number, page)
            : throw new DiskDamagedException(file.Path, "VHDX sector bitmap block", offset, "the file ends inside it");
    }
}
