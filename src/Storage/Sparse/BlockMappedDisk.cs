using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using System.Runtime.ExceptionServices;
using Vitro.Storage.Files;

namespace Vitro.Storage.Sparse;

/// <summary>The I/O of a disk whose blocks are found through a table: the part that VHD and VHDX have in common.</summary>
/// <remarks>
/// Requests on allocated blocks take no lock: they look the block up, use the file, and are done. Allocation and every change of
/// the table happen under <see cref="Gate"/>, in memory only; the table reaches the file at the next commit, after the payload it
/// points to. A commit serves every flush that was asked for before it began.
/// </remarks>
internal abstract class BlockMappedDisk : VirtualDisk
{
    // Ranges to join in one answer: callers that walk a chain ask again where a lower layer changes, and must not pay for all each time.
    private const int DescribeLimit = 64;

    // Above, reading the whole table to find gaps would cost more than they are worth.
    private const long MostBlocksToSearch = 1 << 20;

    private readonly long _length;
    private readonly int _blockShift;
    private long _flushesAsked;
    private long _flushesDone;
    private volatile bool _modified;
    private ExceptionDispatchInfo? _failure;
    private bool _gapsSearched;
    private bool _closed;

    private protected BlockMappedDisk(IDiskFile file, long length, int blockSize, int sectorSize, VirtualDisk? parent)
        : base(file.Path)
    {
        DataFile = file;
        _length = length;
        _blockShift = BitOperations.Log2((uint)blockSize);
        BlockSize = blockSize;
        LogicalSectorSize = sectorSize;
        ParentDisk = parent;
        Extents = new ExtentPool(Changes.Epochs);
    }

    public override long Length => _length;

    public override int LogicalSectorSize { get; }

    public override bool IsReadOnly => DataFile.IsReadOnly;

    public override bool SupportsTrim => Kind != DiskKind.Fixed;

    public override VirtualDisk? Parent => ParentDisk;

    internal int BlockSize { get; }

    internal long BlockCount => (_length + BlockSize - 1) >> _blockShift;

    internal IDiskFile DataFile { get; }

    internal ExtentPool Extents { get; }

    private protected VirtualDisk? ParentDisk { get; set; }

    private protected object Gate { get; } = new();

    /// <summary>Whether the table in memory differs from what the last commit made durable.</summary>
    private protected abstract bool MetadataIsDirty { get; }

    internal override bool Read(long offset, in BufferSlice target, bool cachedOnly)
    {
        var epoch = Changes.Epochs.Enter();
        try
        {
            var done = 0;
            while (done < target.Length)
            {
                var position = offset + done;
                var within = (int)(position & (BlockSize - 1));
                var take = Math.Min(BlockSize - within, target.Length - done);
                var entry = Lookup(position >> _blockShift);
                var read = true;
                switch (entry.State)
                {
                    case BlockState.Present:
                        read = ReadFile(entry.FileOffset + within, target.Slice(done, take), cachedOnly);
                        break;
                    case BlockState.Partial:
                        read = ReadPartial(position, entry.FileOffset + within, target.Slice(done, take), cachedOnly);
                        break;
                    case BlockState.Absent when ParentDisk is not null:
                        take = ExtendAbsent(position, take, target.Length - done);
                        read = ReadParent(position, target.Slice(done, take), cachedOnly);
                        break;
                    default:
                        target.Slice(done, take).Clear();
                        break;
                }

                if (!read)
                {
                    return false;
                }

                done += take;
            }

            return true;
        }
        finally
        {
            Changes.Exit(epoch);
        }
    }

    internal override bool TryLocate(long offset, int length, [NotNullWhen(true)] out IDiskFile? file, out long fileOffset)
    {
        var within = (int)(offset & (BlockSize - 1));
        var block = offset >> _blockShift;
        file = null;
        fileOffset = 0;
        if (length == 0 || length > BlockSize - within)
        {
            return false;
        }

        var entry = Lookup(block);
        var here = entry.State == BlockState.Present;
        if (entry.State == BlockState.Partial)
        {
            here = RunOfSectors(block, within / LogicalSectorSize, length / LogicalSectorSize, out var count);
            if (count < length / LogicalSectorSize)
            {
                return false;
            }
        }

        if (here)
        {
            file = DataFile;
            fileOffset = entry.FileOffset + within;
            return true;
        }

        // Parents are open for reading: their blocks stay where they are without an epoch.
        return entry.State != BlockState.Zero && ParentDisk is not null && offset + length <= ParentDisk.Length
            && ParentDisk.TryLocate(offset, length, out file, out fileOffset);
    }

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

    internal override void Flush()
    {
        _failure?.Throw();
        var ticket = Interlocked.Increment(ref _flushesAsked);
        lock (Changes.TurnGate)
        {
            if (_flushesDone >= ticket)
            {
                return; // a commit that began after this flush was asked for has ended
            }

            var covers = Volatile.Read(ref _flushesAsked);
            CommitNow();
            _flushesDone = covers;
        }
    }

    internal override void Trim(long offset, long length)
    {
        if (SupportsTrim)
        {
            Discard(offset, length, mustBeZero: false);
        }
    }

    internal override void Zero(long offset, long length) => Discard(offset, length, mustBeZero: true);

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

    internal override void Close()
    {
        lock (Changes.TurnGate)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
            try
            {
                if (!IsReadOnly && _modified && _failure is null)
                {
                    CommitNow();
                    FinishClean();
                }
            }
            finally
            {
                DataFile.Dispose();
                ParentDisk?.Close();
            }
        }
    }

    /// <summary>Finds a block; the caller is inside an epoch.</summary>
    internal abstract BlockEntry Lookup(long block);

    /// <summary>How many sectors from <paramref name="sector"/> (in its block) share its bit, at most <paramref name="limit"/>.</summary>
    internal abstract bool RunOfSectors(long block, int sector, int limit, out int count);

    /// <summary>All of the file that is in use, in no order.</summary>
    internal abstract IEnumerable<UsedExtent> UsedExtents();

    /// <summary>An extent has been copied: the table points to the copy from the next commit on.</summary>
    internal abstract void MoveExtent(long owner, long offset);

    /// <summary>Commits, then ends the file after its last extent.</summary>
    internal abstract void CutFile(long length);

    /// <summary>Gives back every block that holds nothing but zeroes.</summary>
    /// <param name="readContent">Reads blocks; else only those that are holes of the file are found.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops between blocks.</param>
    internal void ReleaseZeroBlocks(bool readContent, IProgress<DiskProgress>? progress, CancellationToken cancellation)
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

            progress?.Report(new DiskProgress(block << _blockShift, _length));
        }
    }

    /// <summary>Prepares the file for its first change since it was opened: new identities, log opened.</summary>
    private protected abstract void BeginModification();

    /// <summary>Makes payload and table durable; called by one thread at a time, without <see cref="Gate"/>.</summary>
    private protected abstract void Commit();

    /// <summary>After the last commit: leaves the file as a cleanly closed one.</summary>
    private protected abstract void FinishClean();

    /// <summary>Extends the file by an extent and gives the place of its payload; under <see cref="Gate"/>.</summary>
    private protected abstract long AppendExtent();

    /// <summary>How extents lie in the file: their alignment, what comes before their payload, and where they end at the latest.</summary>
    private protected abstract (int Alignment, int Lead, long End) ExtentPlaces { get; }

    /// <summary>The error for an entry of the table, by its owner, that cannot be true.</summary>
    private protected abstract DiskDamagedException BadEntry(long owner, string problem);

    /// <summary>Zeroes a released extent for its next use.</summary>
    private protected abstract void ClearExtent(long fileOffset);

    /// <summary>Changes the table's entry in memory, marking it for the next commit; under <see cref="Gate"/>.</summary>
    private protected abstract void SetEntry(long block, BlockEntry entry);

    /// <summary>Prepares a block's bitmap for its becoming partial: all sectors elsewhere; under <see cref="Gate"/>.</summary>
    private protected abstract void ClearSectors(long block);

    /// <summary>Sets bits of sectors whose payload has been written.</summary>
    private protected abstract void MarkSectors(long block, int sector, int count);

    /// <summary>Prepares for a change, before the request enters its epoch.</summary>
    private protected void Modify()
    {
        _failure?.Throw();
        if (!_modified)
        {
            lock (Changes.TurnGate)
            {
                if (!_modified)
                {
                    BeginModification();
                    _modified = true;
                }
            }
        }
    }

    private void CommitNow()
    {
        try
        {
            lock (Gate)
            {
                Extents.BeginCommit();
            }

            Commit();
            List<long>? ready;
            lock (Gate)
            {
                ready = Extents.EndCommit();
            }

            if (ready is not null)
            {
                foreach (var extent in ready)
                {
                    ClearExtent(extent);
                    lock (Gate)
                    {
                        Extents.GiveBackUnused(extent);
                    }
                }
            }
        }
        catch (Exception error)
        {
            // After a failed sync nobody knows what is durable: no later success may be reported.
            _failure = ExceptionDispatchInfo.Capture(error);
            throw;
        }
    }

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

    private bool ReadFile(long fileOffset, in BufferSlice target, bool cachedOnly)
    {
        var got = DataFile.Read(fileOffset, target, cachedOnly);
        return got == target.Length || (got >= 0
            ? throw new DiskDamagedException(Path, "payload", fileOffset, $"the file ends {target.Length - got} bytes too early")
            : false);
    }

    private bool ReadParent(long offset, in BufferSlice target, bool cachedOnly)
    {
        // A parent may be smaller than its child: beyond its end the child starts with zeroes.
        var inside = (int)Math.Clamp(ParentDisk!.Length - offset, 0, target.Length);
        if (inside < target.Length)
        {
            target.Slice(inside, target.Length - inside).Clear();
        }

        return inside == 0 || ParentDisk.Read(offset, target.Slice(0, inside), cachedOnly);
    }

    private bool ReadPartial(long position, long fileOffset, in BufferSlice target, bool cachedOnly)
    {
        var block = position >> _blockShift;
        var done = 0;
        while (done < target.Length)
        {
            var sector = (int)((position + done) & (BlockSize - 1)) / LogicalSectorSize;
            var here = RunOfSectors(block, sector, (target.Length - done) / LogicalSectorSize, out var count);
            var part = target.Slice(done, count * LogicalSectorSize);
            if (here ? !ReadFile(fileOffset + done, part, cachedOnly) : !ReadParent(position + done, part, cachedOnly))
            {
                return false;
            }

            done += part.Length;
        }

        return true;
    }

    // Neighbouring absent blocks go to the parent as one request.
    private int ExtendAbsent(long position, int take, int limit)
    {
        while (take < limit && Lookup((position + take) >> _blockShift).State == BlockState.Absent)
        {
            take = Math.Min(take + BlockSize, limit);
        }

        return take;
    }

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
                    ClearSectors(block);
                    entry = new BlockEntry(BlockState.Partial, TakeExtent());
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
