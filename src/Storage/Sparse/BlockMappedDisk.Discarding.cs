namespace Vitro.Storage.Sparse;

/// <content>Trimming and zeroing: blocks given back, sectors zeroed.</content>
internal abstract partial class BlockMappedDisk
{
    internal override void Trim(long offset, long length)
    {
        if (SupportsTrim)
        {
            Discard(offset, length, mustBeZero: false);
        }
    }

    internal override void Zero(long offset, long length) => Discard(offset, length, mustBeZero: true);

    /// <summary>Gives back every block that holds nothing but zeroes.</summary>
    /// <param name="readContent">Reads blocks; else only those that are holes of the file are found.</param>
    /// <param name="progress">Told how many bytes of the disk were looked through.</param>
    /// <param name="cancellation">Stops between blocks.</param>
    internal void ReleaseZeroBlocks(bool readContent, Action<long> progress, CancellationToken cancellation)
    {
        Modify();
        var buffer = readContent ? new byte[1 << 20] : [];
        for (long block = 0; block < BlockCount && !cancellation.IsCancellationRequested; block++)
        {
            var entry = Lookup(block);
            if (entry.State == BlockState.Present && HoldsZeroes(entry.FileOffset, buffer))
            {
                ReleaseBlock(block, mustBeZero: true);
            }

            progress(block << _blockShift);
        }
    }

    private void Discard(long offset, long length, bool mustBeZero)
    {
        if (length == 0)
        {
            return;
        }

        Modify();
        var epoch = Changes.Enter();
        try
        {
            Changes.Announce(offset, length);
            for (long done = 0; done < length;)
            {
                var position = offset + done;
                var within = (int)(position & (BlockSize - 1));
                var take = (int)Math.Min(BlockSize - within, length - done);
                var block = position >> _blockShift;
                if (Kind != DiskKind.Fixed && CoversBlock(block, within, take))
                {
                    ReleaseBlock(block, mustBeZero);
                }
                else
                {
                    DiscardSectors(block, within, take, mustBeZero);
                }

                done += take;
            }
        }
        finally
        {
            Changes.Exit(epoch);
        }
    }

    /// <summary>Gives a whole block's space back; a format without zero blocks overrides it where a parent would show.</summary>
    private protected virtual void ReleaseBlock(long block, bool mustBeZero)
    {
        lock (Gate)
        {
            var entry = Lookup(block);
            if (entry.State == BlockState.Zero || (entry.State == BlockState.Absent && (ParentDisk is null || !mustBeZero)))
            {
                return;
            }

            if (entry.State is BlockState.Present or BlockState.Partial)
            {
                Extents.Release(entry.FileOffset);
            }

            SetEntry(block, new BlockEntry(mustBeZero || ParentDisk is not null ? BlockState.Zero : BlockState.Absent, 0));
        }
    }

    private protected void DiscardSectors(long block, int within, int length, bool mustBeZero)
    {
        var entry = Lookup(block);
        if (entry.State == BlockState.Absent && mustBeZero && ParentDisk is not null)
        {
            entry = Allocate(block);
        }

        if (entry.State is not (BlockState.Present or BlockState.Partial))
        {
            return;
        }

        if (entry.State == BlockState.Partial && !mustBeZero)
        {
            return; // the sectors elsewhere keep their content: there is nothing to give back but the odd sector
        }

        DataFile.Zero(entry.FileOffset + within, length, keepSpace: Kind == DiskKind.Fixed && DataFile.AllocatedLength >= _length);
        if (entry.State == BlockState.Partial)
        {
            MarkSectors(block, within / LogicalSectorSize, length / LogicalSectorSize);
        }
    }

    private bool HoldsZeroes(long fileOffset, byte[] buffer)
    {
        for (var at = fileOffset; at < fileOffset + BlockSize;)
        {
            at = Math.Max(at, DataFile.NextData(at));
            var take = (int)Math.Min(buffer.Length, fileOffset + BlockSize - at);
            if (take <= 0)
            {
                return at >= fileOffset + BlockSize;
            }

            var got = DataFile.Read(at, buffer.AsSpan(0, take));
            if (buffer.AsSpan(0, got).ContainsAnyExcept((byte)0))
            {
                return false;
            }

            at += take;
        }

        return true;
    }
}
