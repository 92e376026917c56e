namespace Vitro.UnitTests.Storage.Crash;

/// <summary>A file's content in memory, cheap to copy: pages are shared until written.</summary>
internal sealed class SparseImage
{
    private const int PageSize = 4096;

    private readonly Dictionary<long, byte[]> _pages;
    private readonly HashSet<long> _own = [];

    internal SparseImage() => _pages = [];

    internal SparseImage(SparseImage other)
    {
        _pages = new Dictionary<long, byte[]>(other._pages);
        Length = other.Length;
        other._own.Clear(); // now shared
    }

    internal long Length { get; private set; }

    internal int Read(long offset, Span<byte> target)
    {
        var length = (int)Math.Clamp(Length - offset, 0, target.Length);
        for (var done = 0; done < length;)
        {
            var within = (int)((offset + done) % PageSize);
            var take = Math.Min(PageSize - within, length - done);
            if (_pages.TryGetValue((offset + done) / PageSize, out var page))
            {
                page.AsSpan(within, take).CopyTo(target[done..]);
            }
            else
            {
                target.Slice(done, take).Clear();
            }

            done += take;
        }

        return length;
    }

    internal void Write(long offset, ReadOnlySpan<byte> source)
    {
        for (var done = 0; done < source.Length;)
        {
            var within = (int)((offset + done) % PageSize);
            var take = Math.Min(PageSize - within, source.Length - done);
            source.Slice(done, take).CopyTo(Own((offset + done) / PageSize).AsSpan(within));
            done += take;
        }

        Length = Math.Max(Length, offset + source.Length);
    }

    internal void Zero(long offset, long length)
    {
        length = Math.Min(length, Length - offset);
        if (length / PageSize > _pages.Count)
        {
            // Long ranges have few pages: those in the middle go by their number.
            var (first, end) = ((offset + PageSize - 1) / PageSize, (offset + length) / PageSize);
            foreach (var number in _pages.Keys.Where(number => number >= first && number < end).ToList())
            {
                _pages.Remove(number);
                _own.Remove(number);
            }

            Zero(offset, Math.Min(length, (first * PageSize) - offset));
            Zero(end * PageSize, Math.Max(0, offset + length - (end * PageSize)));
            return;
        }

        for (long done = 0; done < length;)
        {
            var number = (offset + done) / PageSize;
            var within = (int)((offset + done) % PageSize);
            var take = (int)Math.Min(PageSize - within, length - done);
            if (take == PageSize)
            {
                _pages.Remove(number);
                _own.Remove(number);
            }
            else if (_pages.ContainsKey(number))
            {
                Own(number).AsSpan(within, take).Clear();
            }

            done += take;
        }
    }

    internal void SetLength(long length)
    {
        if (length < Length)
        {
            var old = Length;
            Zero(length, old - length);
        }

        Length = length;
    }

    internal long NextData(long offset)
    {
        var first = offset / PageSize;
        if ((Length / PageSize) - first > _pages.Count)
        {
            first = _pages.Keys.Where(number => number >= first).DefaultIfEmpty(long.MaxValue / PageSize).Min();
        }

        for (; first * PageSize < Length; first++)
        {
            if (_pages.ContainsKey(first))
            {
                return Math.Max(offset, first * PageSize);
            }
        }

        return Math.Max(offset, Length);
    }

    internal long NextHole(long offset)
    {
        var number = offset / PageSize;
        while (number * PageSize < Length && _pages.ContainsKey(number))
        {
            number++;
        }

        return Math.Min(Math.Max(offset, number * PageSize), Math.Max(offset, Length));
    }

    private byte[] Own(long number)
    {
        if (!_pages.TryGetValue(number, out var page))
        {
            page = new byte[PageSize];
            _pages[number] = page;
            _own.Add(number);
        }
        else if (_own.Add(number))
        {
            page = (byte[])page.Clone();
            _pages[number] = page;
        }

        return page;
    }
}
