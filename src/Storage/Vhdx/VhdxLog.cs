using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>Writes metadata pages to the log, then to their places, so that a crash leaves all or none of them.</summary>
/// <remarks>
/// One batch is in the log at a time. Its pages are written to their places right after the log is durable, and the sync with
/// which the next batch begins (which must come anyway, for the payload) makes those durable too: an entry is its own tail, and
/// a batch costs two syncs. Not thread-safe: the disk commits one batch at a time.
/// </remarks>
internal sealed class VhdxLog
{
    private readonly IDiskFile _file;
    private readonly long _offset;
    private readonly uint _length;
    private uint _position;
    private ulong _sequence;

    internal VhdxLog(IDiskFile file, VhdxHeader header)
    {
        _file = file;
        _offset = (long)header.LogOffset;
        _length = header.LogLength;
    }

    /// <summary>Pages that fit an entry; half the log, so that the entry before it is never overwritten.</summary>
    internal int PagesPerEntry => (int)(((_length / 2) - LogEntry.SectorSize) / (LogEntry.SectorSize + 32));

    /// <summary>Identifies the log's entries; new for each opening.</summary>
    internal Guid Guid { get; } = Guid.NewGuid();

    /// <summary>Logs and places a batch; the caller has made durable what the pages point to.</summary>
    /// <param name="pages">The batch.</param>
    /// <param name="beforeFirstPlacing">Called when the first entry is durable and no page has been placed yet.</param>
    internal void Commit(IReadOnlyList<LogPage> pages, Action? beforeFirstPlacing = null)
    {
        for (var first = 0; first < pages.Count; first += PagesPerEntry)
        {
            if (first > 0)
            {
                _file.Flush();
            }

            CommitEntry(pages.Skip(first).Take(PagesPerEntry).ToList(), beforeFirstPlacing);
            beforeFirstPlacing = null;
        }
    }

    private void CommitEntry(List<LogPage> pages, Action? beforePlacing)
    {
        var entry = new byte[LogEntry.SizeOf(pages.Count)];
        LogEntry.Write(entry, pages, tail: _position, ++_sequence, Guid, (ulong)_file.Length);
        var first = (int)Math.Min(entry.Length, _length - _position);
        _file.Write(_offset + _position, entry.AsSpan(0, first));
        if (first < entry.Length)
        {
            _file.Write(_offset, entry.AsSpan(first));
        }

        _file.Flush();
        beforePlacing?.Invoke();
        foreach (var page in pages)
        {
            _file.Write(page.FileOffset, page.Content.Span);
        }

        _position = (uint)((_position + entry.Length) % _length);
    }
}
