using Vitro.Storage.Files;
using Vitro.Storage.Operations;

namespace Vitro.Storage;

/// <summary>Where two disks' contents differ.</summary>
/// <param name="FirstDifference">The first byte that differs, or -1.</param>
/// <param name="DifferingSectors">Sectors of 512 bytes that differ.</param>
/// <param name="LengthsDiffer">One disk is longer; what it has more than zeroes counts as different.</param>
public readonly record struct DiskDifference(long FirstDifference, long DifferingSectors, bool LengthsDiffer)
{
    /// <summary>Same length, same bytes.</summary>
    public bool IsNone => FirstDifference < 0 && !LengthsDiffer;
}

/// <summary>Compares disks of any format by content.</summary>
public static class DiskComparison
{
    private const int ChunkSize = 1 << 20;
    private const int SectorSize = 512;

    /// <summary>Compares two open disks.</summary>
    /// <exception cref="BlockIOException">A disk cannot be read.</exception>
    public static DiskDifference Compare(
        VirtualDisk one, VirtualDisk two, IProgress<DiskProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(one);
        ArgumentNullException.ThrowIfNull(two);
        var end = Math.Max(one.Length, two.Length);
        var first = new byte[ChunkSize];
        var second = new byte[ChunkSize];
        long firstDifference = -1;
        long sectors = 0;
        for (long offset = 0; offset < end;)
        {
            cancellation.ThrowIfCancellationRequested();
            var oneIsZero = IsZero(one, offset, end, out var oneLength);
            var twoIsZero = IsZero(two, offset, end, out var twoLength);
            var length = Math.Min(oneLength, twoLength);
            if (!oneIsZero || !twoIsZero)
            {
                length = Math.Min(length, ChunkSize);
                Fill(one, offset, first.AsMemory(0, (int)length));
                Fill(two, offset, second.AsMemory(0, (int)length));
                if (!first.AsSpan(0, (int)length).SequenceEqual(second.AsSpan(0, (int)length)))
                {
                    for (var at = 0; at < length; at += SectorSize)
                    {
                        var a = first.AsSpan(at, (int)Math.Min(SectorSize, length - at));
                        var b = second.AsSpan(at, a.Length);
                        var same = a.CommonPrefixLength(b);
                        if (same < a.Length)
                        {
                            sectors++;
                            firstDifference = firstDifference < 0 ? offset + at + same : firstDifference;
                        }
                    }
                }
            }

            offset += length;
            progress?.Report(new DiskProgress(offset, end));
        }

        return new DiskDifference(firstDifference, sectors, one.Length != two.Length);
    }

    private static bool IsZero(VirtualDisk disk, long offset, long end, out long length)
    {
        if (offset >= disk.Length)
        {
            length = end - offset;
            return true;
        }

        return ChainContent.Describe(disk, below: null, offset, disk.Length - offset, out length, out _) == RangeContent.Zero;
    }

    private static void Fill(VirtualDisk disk, long offset, Memory<byte> target)
    {
        var inside = (int)Math.Clamp(disk.Length - offset, 0, target.Length);
        target[inside..].Span.Clear();
        if (inside > 0)
        {
            _ = disk.Read(offset, BufferSlice.Of(target[..inside]), cachedOnly: false);
        }
    }
}
