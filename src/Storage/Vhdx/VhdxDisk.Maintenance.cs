using System.Buffers.Binary;
using Vitro.Storage.Sparse;

namespace Vitro.Storage.Vhdx;

/// <content>Changes of the disk itself: size, identity, parent, place of its blocks. Nobody else uses the disk meanwhile.</content>
internal sealed partial class VhdxDisk
{
    /// <summary>Whether the table's region holds the entries of a disk of that size.</summary>
    internal bool TableHolds(long length) => GeometryFor(length).Entries * BatGeometry.EntrySize <= Regions.Bat.Length;

    /// <summary>Takes over another disk's data identity: the content has become that disk's.</summary>
    internal void TakeDataIdentity(Guid identity)
    {
        Modify();
        _headers.Update(_headers.Current with { DataWriteGuid = identity });
    }

    internal void TakeIdentity(Guid identity)
    {
        Modify();
        CommitMetadata(MetadataPages(VhdxMetadata.DiskIdentityId, identity.ToByteArray()));
    }

    /// <summary>Moves the table to a longer region at the end of the file; the disk must just have been opened.</summary>
    /// <remarks>The region tables decide which table counts: the first copy is durable before the second is touched.</remarks>
    internal void RelocateTable(long length, CancellationToken cancellation)
    {
        Modify();
        var regionLength = GeometryFor(length).RegionLength;
        var offset = Extend((int)regionLength);
        var buffer = new byte[VhdxLayout.Megabyte];
        for (long done = 0; done < Regions.Bat.Length; done += buffer.Length)
        {
            cancellation.ThrowIfCancellationRequested(); // what the file has grown by meanwhile is used by the next that needs room
            _ = DataFile.Read((long)Regions.Bat.FileOffset + done, buffer);
            if (buffer.AsSpan().ContainsAnyExcept((byte)0))
            {
                DataFile.Write(offset + done, buffer);
            }
        }

        DataFile.Flush();
        new RegionTable(Regions.Regions
            .Select(region => region.Id == RegionTable.BatId ? region with { FileOffset = (ulong)offset, Length = (uint)regionLength } : region)
            .ToList()).Store(DataFile);
    }

    /// <summary>Sets the disk's size; the table must hold it, and this object must be closed afterwards.</summary>
    internal void SetLength(long length)
    {
        Modify();
        Flush();
        var (small, large) = length < Length ? (GeometryFor(length), _geometry) : (_geometry, GeometryFor(length));
        if (length > Length)
        {
            ClearTail();
        }

        var table = new BlockAllocationTable(DataFile, (long)Regions.Bat.FileOffset, large.Entries);
        for (var block = small.PayloadBlocks; block < large.PayloadBlocks; block++)
        {
            var entry = Kind == DiskKind.Fixed && length > Length ? new BatEntry(BatState.FullyPresent, Extend(BlockSize)) : default;
            table.Set(large.PayloadIndex(block), entry);
        }

        for (var chunk = small.Chunks; chunk < large.Chunks && large.BitmapIndex(chunk) < large.Entries; chunk++)
        {
            table.Set(large.BitmapIndex(chunk), default);
        }

        // Should the change take several log entries, entries beyond the size mean nothing: so the size is last to grow, first to shrink.
        var pages = new List<LogPage>();
        table.TakeDirty(pages);
        var bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, length);
        pages.InsertRange(length > Length ? pages.Count : 0, MetadataPages(VhdxMetadata.DiskSizeId, bytes));
        CommitMetadata(pages);
    }

    internal void SetParentLocator(ParentLocator locator)
    {
        Modify();
        var bytes = locator.Build();
        var region = Regions.Metadata;
        var old = Metadata.Items[VhdxMetadata.ParentLocatorId];
        var table = new byte[MetadataTable.Size];
        _ = DataFile.Read((long)region.FileOffset, table);
        _ = MetadataTable.TryRead(table, region.Length, out var parsed, out _);

        // The new locator goes where there is room, and the directory's page that names its place changes with it, in one log entry.
        var others = parsed.Entries.Where(entry => entry.Id != VhdxMetadata.ParentLocatorId && entry.Length > 0).ToList();
        var place = VhdxLayout.AlignUp(others.Max(entry => entry.Offset + (long)entry.Length), VhdxLayout.PageSize);
        if (place <= old.Offset && old.Offset < place + bytes.Length)
        {
            place = old.Offset;
        }

        if (place + bytes.Length > region.Length)
        {
            throw new BlockIOException($"{Path}: the metadata region has no room for the new parent's names.");
        }

        var pages = new List<LogPage>();
        var index = parsed.Entries.ToList().FindIndex(entry => entry.Id == VhdxMetadata.ParentLocatorId);
        var entryBytes = new byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(entryBytes, (uint)place);
        BinaryPrimitives.WriteInt32LittleEndian(entryBytes.AsSpan(4), bytes.Length);
        pages.AddRange(Patch((long)region.FileOffset + place, bytes));
        pages.AddRange(Patch((long)region.FileOffset + MetadataTable.EntryOffset(index) + 16, entryBytes));
        CommitMetadata(pages);
    }

    /// <summary>Repair: forgets blocks whose entries cannot be true.</summary>
    internal void DropEntries(IEnumerable<long> indexes)
    {
        Modify();
        lock (Gate)
        {
            foreach (var index in indexes)
            {
                Bat.Set(index, default);
            }
        }

        Flush();
    }

    /// <summary>Gives up the sector bitmap blocks that no partially present block needs; all changes before are durable.</summary>
    internal void ReleaseUnusedBitmaps()
    {
        if (!Metadata.HasParent)
        {
            return;
        }

        lock (Gate)
        {
            for (long chunk = 0; chunk < _geometry.Chunks; chunk++)
            {
                var first = chunk * _geometry.ChunkRatio;
                var end = Math.Min(first + _geometry.ChunkRatio, BlockCount);
                var needed = false;
                for (var block = first; block < end && !needed; block++)
                {
                    needed = Bat[_geometry.PayloadIndex(block)].State == BatState.PartiallyPresent;
                }

                if (!needed && Bat[_geometry.BitmapIndex(chunk)].State == BatState.FullyPresent)
                {
                    Bat.Set(_geometry.BitmapIndex(chunk), default);
                }
            }
        }
    }

    internal override IEnumerable<UsedExtent> UsedExtents()
    {
        foreach (var extent in StructureExtents())
        {
            yield return extent;
        }

        for (long index = 0; index < _geometry.Entries; index++)
        {
            if (TryUsedExtent(index, out var extent))
            {
                yield return extent;
            }
        }
    }

    /// <summary>What an entry of the table holds of the file; false when that is nothing.</summary>
    internal bool TryUsedExtent(long index, out UsedExtent extent)
    {
        var entry = Bat[index];
        var isBitmap = index % (_geometry.ChunkRatio + 1L) == _geometry.ChunkRatio;
        extent = new UsedExtent(entry.FileOffset, isBitmap ? VhdxLayout.Megabyte : BlockSize, index);
        return entry.State is BatState.FullyPresent or BatState.PartiallyPresent;
    }

    /// <summary>Where the file's structures are.</summary>
    internal IEnumerable<UsedExtent> StructureExtents()
    {
        yield return new UsedExtent(0, VhdxLayout.HeaderSectionLength, -1);
        yield return new UsedExtent((long)Header.LogOffset, Header.LogLength, -1);
        foreach (var region in Regions.Regions)
        {
            yield return new UsedExtent((long)region.FileOffset, region.Length, -1);
        }
    }

    internal override void MoveExtent(long owner, long offset)
    {
        lock (Gate)
        {
            Bat.Set(owner, new BatEntry(Bat[owner].State, offset));
        }
    }

    internal override void CutFile(long length)
    {
        Flush();

        // The log remembers how long the file was, and would take a shorter one for a damaged one: it must be empty first.
        FinishClean();
        DataFile.SetLength(length);
        _fileEnd = length;
        DataFile.Flush();
    }

    private BatGeometry GeometryFor(long length) => _geometry with { DiskSize = length };

    private void CommitMetadata(List<LogPage> pages)
    {
        DataFile.Flush();
        CommitPages(pages);
        DataFile.Flush();
    }

    private List<LogPage> MetadataPages(Guid item, ReadOnlySpan<byte> content) =>
        Patch((long)Regions.Metadata.FileOffset + Metadata.Items[item].Offset, content);

    private List<LogPage> Patch(long fileOffset, ReadOnlySpan<byte> content)
    {
        var pages = new List<LogPage>();
        for (var page = fileOffset & -VhdxLayout.PageSize; page < fileOffset + content.Length; page += VhdxLayout.PageSize)
        {
            var bytes = new byte[VhdxLayout.PageSize];
            _ = DataFile.Read(page, bytes);
            var from = Math.Max(page, fileOffset);
            var to = Math.Min(page + VhdxLayout.PageSize, fileOffset + content.Length);
            content[(int)(from - fileOffset)..(int)(to - fileOffset)].CopyTo(bytes.AsSpan((int)(from - page)));
            pages.Add(new LogPage(page, bytes));
        }

        return pages;
    }

    // What the last block holds beyond the disk's end would come to light.
    private void ClearTail()
    {
        var within = (int)(Length % BlockSize);
        if (within != 0 && Lookup(Length / BlockSize) is { State: BlockState.Present } entry)
        {
            DataFile.Zero(entry.FileOffset + within, BlockSize - within);
        }
    }
}
