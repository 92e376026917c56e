using Vitro.Storage.Files;

namespace Vitro.Storage.Sparse;

/// <summary>Moves a disk's last extents into the gaps before them, so that the file can be cut.</summary>
/// <remarks>
/// A batch of moves is copied, made durable, and only then does the table point to the copies; the originals are gaps for the next
/// batch, not for this one. So at every moment the durable table points to intact extents.
/// </remarks>
/// <param name="disk">The disk, used by nobody else.</param>
/// <param name="progress">Told how many bytes were moved.</param>
/// <param name="cancellation">Stops between extents.</param>
internal sealed class ExtentCompactor(BlockMappedDisk disk, Action<long> progress, CancellationToken cancellation)
{
    private const long BatchBytes = 256 << 20;

    private readonly byte[] _buffer = new byte[1 << 20];

    internal void Run()
    {
        // Once the releases are durable their extents are gaps to be filled here, not space to be zeroed for its next use.
        disk.Flush();
        disk.Extents.Clear();
        long moved = 0;
        while (MoveBatch(ref moved))
        {
            disk.Flush();
        }

        cancellation.ThrowIfCancellationRequested();
        disk.CutFile(disk.UsedExtents().Max(extent => extent.End));
    }

    private bool MoveBatch(ref long moved)
    {
        var extents = disk.UsedExtents().OrderBy(extent => extent.Offset).ToArray();
        var gaps = Gaps(extents);
        var next = 0;
        long batch = 0;
        for (var i = extents.Length - 1; i >= 0 && batch < BatchBytes; i--)
        {
            var extent = extents[i];
            if (extent.Owner < 0)
            {
                continue;
            }

            while (next < gaps.Count && gaps[next].Length < extent.Length)
            {
                next++;
            }

            if (next == gaps.Count || gaps[next].Offset >= extent.Offset || cancellation.IsCancellationRequested)
            {
                break;
            }

            var target = gaps[next].Offset;
            Copy(extent.Offset, target, extent.Length);
            disk.MoveExtent(extent.Owner, target);
            gaps[next] = (target + extent.Length, gaps[next].Length - extent.Length);
            batch += extent.Length;
            moved += extent.Length;
            progress(moved);
        }

        return batch > 0;
    }

    private static List<(long Offset, long Length)> Gaps(UsedExtent[] extents)
    {
        var gaps = new List<(long, long)>();
        long end = 0;
        foreach (var extent in extents)
        {
            if (extent.Offset > end)
            {
                gaps.Add((end, extent.Offset - end));
            }

            end = Math.Max(end, extent.End);
        }

        return gaps;
    }

    private void Copy(long from, long to, long length)
    {
        // The gap may hold what its last owner left there; holes of the original stay holes.
        disk.DataFile.Zero(to, length);
        for (long done = 0; done < length;)
        {
            var data = Math.Min(disk.DataFile.NextData(from + done) & -512, from + length);
            done = Math.Max(done, data - from);
            var take = (int)Math.Min(_buffer.Length, length - done);
            if (take > 0)
            {
                var got = disk.DataFile.Read(from + done, _buffer.AsSpan(0, take));
                disk.DataFile.Write(to + done, _buffer.AsSpan(0, got));
                done += take;
            }
        }
    }
}
