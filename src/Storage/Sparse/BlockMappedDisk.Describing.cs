namespace Vitro.Storage.Sparse;

/// <content>What is where, for those who copy and map.</content>
internal abstract partial class BlockMappedDisk
{
    // Ranges to join in one answer: callers that walk a chain ask again where a lower layer changes, and must not pay for all each time.
    private const int DescribeLimit = 64;

    internal override RangeContent Describe(long offset, out long length)
    {
        var epoch = Changes.Epochs.Enter();
        try
        {
            var content = DescribeOne(offset, out length);
            for (var i = 1; i < DescribeLimit && offset + length < _length && DescribeOne(offset + length, out var more) == content; i++)
            {
                length += more;
            }

            return content;
        }
        finally
        {
            Changes.Exit(epoch);
        }
    }

    private RangeContent DescribeOne(long offset, out long length)
    {
        var block = offset >> _blockShift;
        var within = (int)(offset & (BlockSize - 1));
        var left = (int)Math.Min(BlockSize - within, _length - offset);
        var entry = Lookup(block);
        length = left;
        switch (entry.State)
        {
            case BlockState.Present:
                return DescribeStored(entry.FileOffset + within, left, out length);
            case BlockState.Partial:
                var here = RunOfSectors(block, within / LogicalSectorSize, left / LogicalSectorSize, out var count);
                length = (long)count * LogicalSectorSize;
                return here ? RangeContent.Data : RangeContent.Absent;
            case BlockState.Zero:
                return RangeContent.Zero;
            default:
                return RangeContent.Absent;
        }
    }

    // A hole of the file inside a block is zeroes that cost nothing to skip.
    private RangeContent DescribeStored(long fileOffset, int left, out long length)
    {
        var data = Math.Min(DataFile.NextData(fileOffset), fileOffset + left) & -LogicalSectorSize;
        if (data > fileOffset)
        {
            length = data - fileOffset;
            return RangeContent.Zero;
        }

        var hole = DataFile.NextHole(fileOffset);
        length = Math.Clamp((hole - fileOffset + LogicalSectorSize - 1) & -LogicalSectorSize, LogicalSectorSize, left);
        return RangeContent.Data;
    }
}
