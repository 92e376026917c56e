namespace Vitro.Storage.Operations;

/// <summary>What a range holds as seen from the top of a chain, each layer asked once.</summary>
internal static class ChainContent
{
    /// <summary>Describes the range at <paramref name="offset"/>.</summary>
    /// <param name="top">The uppermost layer.</param>
    /// <param name="below">Stop above this layer: what only it can answer is <see cref="RangeContent.Absent"/>. Null asks all.</param>
    /// <param name="offset">A byte of the disk.</param>
    /// <param name="limit">The most to describe, at least one sector.</param>
    /// <param name="length">How far the answer goes.</param>
    /// <param name="depth">Layers below the top that answered.</param>
    internal static RangeContent Describe(VirtualDisk top, VirtualDisk? below, long offset, long limit, out long length, out int depth)
    {
        length = Math.Min(limit, top.Length - offset);
        depth = 0;
        for (var disk = top; ; disk = disk.Parent!, depth++)
        {
            if (offset >= disk.Length)
            {
                return RangeContent.Zero; // a child is longer than its parent, and starts there with zeroes
            }

            var content = disk.Describe(offset, out var part);
            length = Math.Min(length, part);
            if (content != RangeContent.Absent || disk.Parent is null)
            {
                return content == RangeContent.Absent ? RangeContent.Zero : content;
            }

            if (ReferenceEquals(disk.Parent, below))
            {
                return RangeContent.Absent;
            }
        }
    }
}
