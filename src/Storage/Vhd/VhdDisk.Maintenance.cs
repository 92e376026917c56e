using System.Buffers.Binary;
using Vitro.Storage.Sparse;

namespace Vitro.Storage.Vhd;

/// <content>Changes of the disk itself: size, identity, parent, place of its blocks. Nobody else uses the disk meanwhile.</content>
internal sealed partial class VhdDisk
{
    private const int HeaderTableOffsetField = 16;
    private const int HeaderEntriesField = 28;
    private const int HeaderChecksumField = 36;

    /// <summary>Sets the disk's size; this object must be closed afterwards.</summary>
    internal void SetLength(long length)
    {
        Modify();
        Flush();
        var oldBlocks = BlockCount;
        var newBlocks = (length + BlockSize - 1) / BlockSize;
        if (length > Length)
        {
            ClearTail();
        }

        if (newBlocks > Table.Entries)
        {
            RelocateTable((int)newBlocks);
        }

        var resized = Footer with { CurrentSize = length, Geometry = VhdGeometry.For(length / VhdLayout.SectorSize), Creator = "win " };
        if (newBlocks < oldBlocks)
        {
            // Smaller first: what the table says beyond the size means nothing.
            StoreFooter(resized);
            ForgetBlocks(newBlocks, oldBlocks);
        }
        else
        {
            ForgetBlocks(oldBlocks, Math.Min(newBlocks, Table.Entries));
            StoreFooter(resized);
        }
    }

    internal void TakeIdentity(Guid identity)
    {
        Modify();
        StoreFooter(Footer with { UniqueId = identity });
    }

    /// <summary>Names another parent: a new header and names behind the data, to which the footer then points.</summary>
    internal void SetParent(VirtualDisk parent, uint timeStamp)
    {
        Modify();
        Flush();
        var place = _dataEnd;
        var names = place + VhdDynamicHeader.Size;
        var header = VhdCreator.WithParent(DataFile, Header, names, Path, parent, timeStamp);
        var end = header.TableOffset; // where the names end
        header = header with { TableOffset = Header.TableOffset };
        DataFile.SetLength(end + VhdFooter.Size);
        DataFile.Write(end, Footer.Build());
        DataFile.Flush();
        _dataEnd = end;
        DataFile.Write(place, header.Build());
        StoreFooter(Footer with { DataOffset = place });
    }

    /// <summary>Repair: forgets blocks whose entries cannot be true.</summary>
    internal void DropEntries(IEnumerable<long> blocks)
    {
        Modify();
        lock (Gate)
        {
            foreach (var block in blocks)
            {
                Table.Set(block, VhdTable.Unused);
            }
        }

        Flush();
    }

    /// <summary>Repair: writes both copies of the footer as it was found sound.</summary>
    internal void RestoreFooters()
    {
        Modify();
        StoreFooter(Footer);
    }

    internal override IEnumerable<UsedExtent> UsedExtents()
    {
        yield return new UsedExtent(0, VhdFooter.Size, -1);
        yield return new UsedExtent(Footer.DataOffset, VhdDynamicHeader.Size, -1);
        yield return new UsedExtent(Header.TableOffset, VhdLayout.AlignUp(Table.Entries * sizeof(uint)), -1);
        foreach (var locator in Header.Locators)
        {
            if (locator.Length > 0 && locator.Offset > 0)
            {
                yield return new UsedExtent(locator.Offset, VhdLayout.AlignUp(locator.Length), -1);
            }
        }

        for (long block = 0; block < Table.Entries; block++)
        {
            if (Table[block] != VhdTable.Unused)
            {
                yield return new UsedExtent((long)Table[block] * VhdLayout.SectorSize, ExtentSize, block);
            }
        }
    }

    internal override void MoveExtent(long owner, long offset)
    {
        lock (Gate)
        {
            Table.Set(owner, (uint)(offset / VhdLayout.SectorSize));
        }
    }

    internal override void CutFile(long length)
    {
        Flush();
        if (length >= _dataEnd)
        {
            return;
        }

        // The footer is durable at its new place before the file loses the old one.
        DataFile.Write(length, Footer.Build());
        DataFile.Flush();
        DataFile.SetLength(length + VhdFooter.Size);
        DataFile.Flush();
        _dataEnd = length;
    }

    private void StoreFooter(VhdFooter footer)
    {
        DataFile.Flush();
        DataFile.Write(_dataEnd, footer.Build());
        DataFile.Flush();
        DataFile.Write(0, footer.Build());
        DataFile.Flush();
    }

    private void ForgetBlocks(long first, long end)
    {
        lock (Gate)
        {
            for (var block = first; block < end; block++)
            {
                Table.Set(block, VhdTable.Unused);
            }
        }

        Flush();
    }

    private void RelocateTable(int entries)
    {
        var place = _dataEnd;
        var table = new byte[VhdLayout.AlignUp(entries * (long)sizeof(uint))];
        table.AsSpan().Fill(0xFF);
        for (var i = 0; i < BlockCount; i++)
        {
            BinaryPrimitives.WriteUInt32BigEndian(table.AsSpan(i * sizeof(uint)), Table[i]);
        }

        var end = place + table.Length;
        DataFile.SetLength(end + VhdFooter.Size);
        DataFile.Write(end, Footer.Build());
        DataFile.Flush();
        _dataEnd = end;
        DataFile.Write(place, table);
        DataFile.Flush();

        // Only fields of the header's first sector change, and a sector is written whole or not at all.
        var header = new byte[VhdDynamicHeader.Size];
        _ = DataFile.Read(Footer.DataOffset, header);
        BinaryPrimitives.WriteInt64BigEndian(header.AsSpan(HeaderTableOffsetField), place);
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(HeaderEntriesField), entries);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(HeaderChecksumField), VhdFooter.Checksum(header, HeaderChecksumField));
        DataFile.Write(Footer.DataOffset, header.AsSpan(0, VhdLayout.SectorSize));
        DataFile.Flush();
    }

    private void ClearTail()
    {
        var within = (int)(Length % BlockSize);
        if (within != 0 && Lookup(Length / BlockSize) is { State: BlockState.Present } entry)
        {
            DataFile.Zero(entry.FileOffset + within, BlockSize - within);
        }
    }
}
