using System.Diagnostics.CodeAnalysis;
using Vitro.Storage.Files;

namespace Vitro.Storage.Sparse;

/// <content>Reads: each block from this file, its parent or nowhere.</content>
internal abstract partial class BlockMappedDisk
{
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

    /// <summary>How many sectors from <paramref name="sector"/> (in its block) share its bit, at most <paramref name="limit"/>.</summary>
    internal abstract bool RunOfSectors(long block, int sector, int limit, out int count);

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
}
