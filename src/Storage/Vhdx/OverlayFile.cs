using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>A file as it would be once its log had been replayed, for readers that must not write.</summary>
internal sealed class OverlayFile : IDiskFile
{
    private const int PageSize = LogEntry.SectorSize;

    private readonly IDiskFile _file;
    private readonly Dictionary<long, ReadOnlyMemory<byte>> _pages = [];
    private readonly List<(long Offset, long Length)> _zeroes = [];

    internal OverlayFile(IDiskFile file, IReadOnlyList<LogEntry> entries)
    {
        _file = file;
        Length = file.Length;
        foreach (var entry in entries)
        {
            foreach (var (offset, length) in entry.ZeroRanges)
            {
                foreach (var page in _pages.Keys.Where(page => page >= offset && page < offset + length).ToList())
                {
                    _pages.Remove(page);
                }

                _zeroes.Add((offset, length));
            }

            foreach (var page in entry.Pages)
            {
                _pages[page.FileOffset] = page.Content;
            }

            Length = Math.Max(Length, (long)Math.Min(entry.LastFileOffset, long.MaxValue));
        }
    }

    public string Path => _file.Path;

    public bool IsReadOnly => true;

    public long Length { get; }

    public long AllocatedLength => _file.AllocatedLength;

    public int Read(long offset, Span<byte> buffer)
    {
        var wanted = (int)Math.Clamp(Length - offset, 0, buffer.Length);
        buffer = buffer[..wanted];
        var got = _file.Read(offset, buffer);
        buffer[got..].Clear();
        foreach (var (start, length) in _zeroes)
        {
            var from = Math.Max(start, offset);
            var to = Math.Min(start + length, offset + wanted);
            if (from < to)
            {
                buffer[(int)(from - offset)..(int)(to - offset)].Clear();
            }
        }

        for (var page = offset & -PageSize; page < offset + wanted; page += PageSize)
        {
            if (_pages.TryGetValue(page, out var content))
            {
                var from = Math.Max(page, offset);
                var to = Math.Min(page + PageSize, offset + wanted);
                content.Span[(int)(from - page)..(int)(to - page)].CopyTo(buffer[(int)(from - offset)..]);
            }
        }

        return wanted;
    }

    public int Read(long offset, in BufferSlice target, bool cachedOnly)
    {
        if (cachedOnly)
        {
            return -1;
        }

        var buffer = new byte[target.Length];
        var got = Read(offset, buffer);
        target.CopyFrom(buffer.AsSpan(0, got));
        return got;
    }

    public void Write(long offset, ReadOnlySpan<byte> buffer) => throw Refusal();

    public void Write(long offset, in BufferSlice source, bool durable) => throw Refusal();

    public void Flush()
    {
    }

    public void SetLength(long length) => throw Refusal();

    public void Zero(long offset, long length, bool keepSpace) => throw Refusal();

    public void Reserve(long offset, long length) => throw Refusal();

    public long NextData(long offset) => offset;

    public long NextHole(long offset) => Math.Max(offset, Length);

    public void Dispose() => _file.Dispose();

    private BlockIOException Refusal() => new($"{Path}: the disk is open read-only.");
}
