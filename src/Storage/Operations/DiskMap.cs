using Vitro.Storage.Operations;

namespace Vitro.Storage;

/// <summary>A range of a disk that is stored, or zero by record.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsData">Stored bytes; else zeroes.</param>
/// <param name="Depth">The layer that holds it: 0 is the disk itself, 1 its parent.</param>
public readonly record struct DiskRange(long Offset, long Length, bool IsData, int Depth);

/// <summary>Lists what ranges of a disk are stored where.</summary>
public static class DiskMap
{
    /// <summary>The ranges in order, without gaps: unallocated ones are zero, at the depth of the last layer.</summary>
    public static IEnumerable<DiskRange> Of(VirtualDisk disk)
    {
        ArgumentNullException.ThrowIfNull(disk);
        DiskRange last = default;
        for (long offset = 0; offset < disk.Length;)
        {
            var content = ChainContent.Describe(disk, below: null, offset, disk.Length - offset, out var length, out var depth);
            var range = new DiskRange(offset, length, content == RangeContent.Data, depth);
            offset += length;
            if (last.Length > 0 && last.IsData == range.IsData && last.Depth == range.Depth)
            {
                last = last with { Length = last.Length + length };
                continue;
            }

            if (last.Length > 0)
            {
                yield return last;
            }

            last = range;
        }

        if (last.Length > 0)
        {
            yield return last;
        }
    }
}
