using Vitro.Storage.Files;

namespace Vitro.Storage.Vhdx;

/// <summary>Finds in a log what a crash left to be done ([MS-VHDX] 2.3.3).</summary>
internal static class LogReplay
{
    /// <summary>The entries to apply, oldest first.</summary>
    /// <exception cref="DiskDamagedException">The log has no valid sequence, or the file is shorter than the log says.</exception>
    internal static List<LogEntry> Find(IDiskFile file, VhdxHeader header)
    {
        var logOffset = (long)header.LogOffset;
        var log = ReadLog(file, logOffset, header.LogLength);
        var entries = ParseAll(log, header);
        List<LogEntry> best = [];
        ulong bestSequence = 0;
        foreach (var start in entries.Keys)
        {
            // A sequence ends where the next entry is no successor; its last entry says where it begins.
            var sequence = Follow(entries, start, header.LogLength);
            var head = sequence[^1];
            var tail = IndexOfTail(entries, start, sequence, head.Tail, header.LogLength);
            if (tail >= 0 && head.SequenceNumber > bestSequence)
            {
                best = sequence[tail..];
                bestSequence = head.SequenceNumber;
            }
        }

        if (best.Count == 0)
        {
            throw new DiskDamagedException(
                file.Path, "VHDX log", logOffset, "the header says that the log must be replayed, but it holds no valid entry");
        }

        foreach (var entry in best)
        {
            CheckPlaces(file, logOffset, entry);
        }

        var needed = best[^1].FlushedFileOffset;
        return needed <= (ulong)file.Length
            ? best
            : throw new DiskDamagedException(
                file.Path, "VHDX log", logOffset, $"the file has been cut: its log needs {needed} bytes, and it has {file.Length}",
                "Take the file from a backup.");
    }

    // Checksums prove an entry whole, not sensible: what it writes must lie in the file as long as the entry makes it.
    private static void CheckPlaces(IDiskFile file, long logOffset, LogEntry entry)
    {
        var length = Math.Max(entry.LastFileOffset, (ulong)file.Length);
        var inside = entry.LastFileOffset <= VhdxLayout.MaximumFileLength
            && entry.Pages.All(page => IsInside(page.FileOffset, LogEntry.SectorSize))
            && entry.ZeroRanges.All(range => IsInside(range.Offset, range.Length));
        if (!inside)
        {
            throw new DiskDamagedException(
                file.Path, "VHDX log", logOffset, $"entry {entry.SequenceNumber} changes what is outside a file of {length} bytes");
        }

        bool IsInside(long offset, long size) => offset >= 0 && size >= 0 && (ulong)offset <= length && (ulong)size <= length - (ulong)offset;
    }

    private static byte[] ReadLog(IDiskFile file, long offset, uint length)
    {
        // A length from the file is believed only as far as the file goes.
        var available = Math.Clamp(file.Length - offset, 0, length);
        if (available < length)
        {
            throw new DiskDamagedException(file.Path, "VHDX log", offset, $"the file ends before the log's {length} bytes");
        }

        var log = new byte[length];
        _ = file.Read(offset, log);
        return log;
    }

    private static Dictionary<uint, LogEntry> ParseAll(byte[] log, VhdxHeader header)
    {
        var entries = new Dictionary<uint, LogEntry>();
        for (uint at = 0; at < log.Length; at += LogEntry.SectorSize)
        {
            if (!LogEntry.TryReadLength(log.AsSpan((int)at, LogEntry.SectorSize), header.LogGuid, header.LogLength, out var length))
            {
                continue;
            }

            ReadOnlySpan<byte> source;
            if (at + length <= log.Length)
            {
                source = log.AsSpan((int)at, length);
            }
            else
            {
                var joined = new byte[length];
                log.AsSpan((int)at).CopyTo(joined);
                log.AsSpan(0, length - (log.Length - (int)at)).CopyTo(joined.AsSpan(log.Length - (int)at));
                source = joined;
            }

            if (LogEntry.TryRead(source, header.LogGuid, header.LogLength, out var entry))
            {
                entries.Add(at, entry);
            }
        }

        return entries;
    }

    private static List<LogEntry> Follow(Dictionary<uint, LogEntry> entries, uint start, uint logLength)
    {
        var sequence = new List<LogEntry> { entries[start] };
        var used = (long)entries[start].Length;
        var at = (uint)((start + used) % logLength);
        while (entries.TryGetValue(at, out var next) && next.SequenceNumber == sequence[^1].SequenceNumber + 1
            && used + next.Length <= logLength)
        {
            sequence.Add(next);
            used += next.Length;
            at = (uint)((at + (long)next.Length) % logLength);
        }

        return sequence;
    }

    private static int IndexOfTail(Dictionary<uint, LogEntry> entries, uint start, List<LogEntry> sequence, uint tail, uint logLength)
    {
        if (!entries.TryGetValue(tail, out var wanted))
        {
            return -1;
        }

        var at = start;
        for (var i = 0; i < sequence.Count; i++)
        {
            if (at == tail && ReferenceEquals(sequence[i], wanted))
            {
                return i;
            }

            at = (uint)((at + (long)sequence[i].Length) % logLength);
        }

        return -1;
    }
}
