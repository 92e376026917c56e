namespace Vitro.Storage.Sparse;

/// <content>Where new blocks go in the file.</content>
internal abstract partial class BlockMappedDisk
{
    // Above, reading the whole table to find gaps would cost more than they are worth.
    private const long MostBlocksToSearch = 1 << 20;

    private bool _gapsSearched;

    internal ExtentPool Extents { get; }

    /// <summary>How extents lie in the file: their alignment, what comes before their payload, and where they end at the latest.</summary>
    private protected abstract (int Alignment, int Lead, long End) ExtentPlaces { get; }

    /// <summary>All of the file that is in use, in no order.</summary>
    internal abstract IEnumerable<UsedExtent> UsedExtents();

    /// <summary>An extent has been copied: the table points to the copy from the next commit on.</summary>
    internal abstract void MoveExtent(long owner, long offset);

    /// <summary>Commits, then ends the file after its last extent.</summary>
    internal abstract void CutFile(long length);

    /// <summary>Extends the file by an extent and gives the place of its payload; under <see cref="Gate"/>.</summary>
    private protected abstract long AppendExtent();

    /// <summary>The error for an entry of the table, by its owner, that cannot be true.</summary>
    private protected abstract DiskDamagedException BadEntry(long owner, string problem);

    /// <summary>Zeroes a released extent for its next use.</summary>
    private protected abstract void ClearExtent(long fileOffset);

    // Under the gate. What earlier sessions gave back and nobody took is found once, before this one gives anything back itself.
    private long TakeExtent()
    {
        if (!_gapsSearched)
        {
            if (!Extents.HasSeenReleases && BlockCount <= MostBlocksToSearch)
            {
                FindGaps();
            }

            _gapsSearched = true;
        }

        return Extents.TryTake(out var extent) ? extent : AppendExtent();
    }

    private void FindGaps()
    {
        var (alignment, lead, last) = ExtentPlaces;
        var size = lead + BlockSize;
        var used = UsedExtents().OrderBy(extent => extent.Offset).ToArray();

        // A file that was cut off must not grow over what its table still claims.
        if (Array.Find(used, extent => extent.Owner >= 0 && extent.End > last) is { Length: > 0 } beyond)
        {
            throw BadEntry(beyond.Owner, $"it points to {beyond.Length} bytes at {beyond.Offset}, outside the file");
        }

        long end = 0;
        foreach (var extent in used.Append(new UsedExtent(last, 0, -1)))
        {
            var start = (end + alignment - 1) & -alignment;
            var count = (Math.Min(extent.Offset, last) - start) / size;
            if (count > 0)
            {
                DataFile.Zero(start, count * size);
                for (var i = count - 1; i >= 0; i--)
                {
                    Extents.GiveBackUnused(start + (i * size) + lead);
                }
            }

            end = Math.Max(end, extent.End);
        }
    }
}
