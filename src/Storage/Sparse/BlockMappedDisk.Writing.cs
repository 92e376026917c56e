using Vitro.Storage.Files;

namespace Vitro.Storage.Sparse;

/// <content>Writes: into blocks that are there, and into blocks that are allocated for them.</content>
internal abstract partial class BlockMappedDisk
{
    internal override void Write(long offset, in BufferSlice source, bool durable)
    {
        Modify();
        var allocated = false;
        var epoch = Changes.Enter();
        try
        {
            Changes.Announce(offset, source.Length);
            var done = 0;
            while (done < source.Length)
            {
                var position = offset + done;
                var within = (int)(position & (BlockSize - 1));
                var take = Math.Min(BlockSize - within, source.Length - done);
                var block = position >> _blockShift;
                var part = source.Slice(done, take);
                var entry = Lookup(block);
                if (entry.State == BlockState.Present)
                {
                    DataFile.Write(entry.FileOffset + within, part, durable);
                }
                else
                {
                    allocated = true;
                    WriteSlow(block, within, part);
                }

                done += take;
            }
        }
        finally
        {
            Changes.Exit(epoch);
        }

        if (durable && (allocated || MetadataIsDirty))
        {
            Flush();
        }
    }

    /// <summary>Changes the table's entry in memory, marking it for the next commit; under <see cref="Gate"/>.</summary>
    private protected abstract void SetEntry(long block, BlockEntry entry);

    /// <summary>Prepares a block's bitmap for its becoming partial: all sectors elsewhere; under <see cref="Gate"/>.</summary>
    private protected abstract void ClearSectors(long block);

    /// <summary>Sets bits of sectors whose payload has been written.</summary>
    private protected abstract void MarkSectors(long block, int sector, int count);

    private bool CoversBlock(long block, int within, long length) =>
        within == 0 && (length == BlockSize || (block << _blockShift) + length == _length);

    private void WriteSlow(long block, int within, in BufferSlice part)
    {
        if (ParentDisk is not null && CoversBlock(block, within, part.Length))
        {
            WriteWholeBlock(block, part);
            return;
        }

        // With no parent the new extent's zeroes are the old content, and with one all bits are clear: publishing the extent
        // before its payload is written shows nobody anything new.
        var entry = Allocate(block);
        DataFile.Write(entry.FileOffset + within, part, durable: false);
        if (entry.State == BlockState.Partial)
        {
            MarkSectors(block, within / LogicalSectorSize, part.Length / LogicalSectorSize);
        }
    }

    private BlockEntry Allocate(long block)
    {
        lock (Gate)
        {
            var entry = Lookup(block);
            switch (entry.State)
            {
                case BlockState.Absent when ParentDisk is not null:
                    entry = new BlockEntry(BlockState.Partial, TakeExtent());
                    ClearSectors(block);
                    SetEntry(block, entry);
                    break;
                case BlockState.Absent:
                case BlockState.Zero:
                    entry = new BlockEntry(BlockState.Present, TakeExtent());
                    SetEntry(block, entry);
                    break;
                default:
                    break;
            }

            return entry;
        }
    }

    // Over a parent a whole new block is published after its payload, so that no reader and no crash sees its zeroes.
    private void WriteWholeBlock(long block, in BufferSlice part)
    {
        BlockEntry entry;
        long extent = 0;
        lock (Gate)
        {
            entry = Lookup(block);
            if (entry.State is BlockState.Absent or BlockState.Zero)
            {
                extent = TakeExtent();
            }
        }

        DataFile.Write(extent != 0 ? extent : entry.FileOffset, part, durable: false);
        lock (Gate)
        {
            var now = Lookup(block);
            if (extent != 0 && now.State is BlockState.Absent or BlockState.Zero)
            {
                SetEntry(block, new BlockEntry(BlockState.Present, extent));
                return;
            }

            if (extent == 0 && now == entry)
            {
                SetEntry(block, entry with { State = BlockState.Present });
                return;
            }

            if (extent != 0)
            {
                Extents.Release(extent);
            }
        }

        // Another request changed the block meanwhile: take its place and write there.
        entry = Allocate(block);
        DataFile.Write(entry.FileOffset, part, durable: false);
        if (entry.State == BlockState.Partial)
        {
            MarkSectors(block, 0, part.Length / LogicalSectorSize);
        }
    }
}
