using Vitro.Storage.Disks;
using Vitro.Storage.Files;
using Vitro.Storage.Sparse;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage.Vhd;

/// <summary>An open dynamic or differencing VHD.</summary>
/// <remarks>
/// The format has no log, so order is all: an extent's bitmap and payload are durable before the table's sector that points to it
/// is written, and payload before the bitmap's bits that show it. Each of these sectors is sound alone, so it does not matter
/// which of them a crash lets through. The footer at the end moves out of the way before a block takes its place; should a crash
/// lose it, the copy at the start serves.
/// </remarks>
internal sealed partial class VhdDisk : BlockMappedDisk
{
    private readonly int _bitmapSize;
    private readonly VhdBitmaps _bitmaps;
    private readonly bool _footerAtEnd;
    private long _dataEnd;

    private VhdDisk(IDiskFile file, VhdFooter footer, VhdDynamicHeader header, VhdTable table, bool footerAtEnd, VirtualDisk? parent)
        : base(file, footer.DiskSize, header.BlockSize, VhdLayout.SectorSize, parent)
    {
        Footer = footer;
        Header = header;
        Table = table;
        _footerAtEnd = footerAtEnd;
        _bitmapSize = VhdLayout.BitmapSize(header.BlockSize);
        _bitmaps = new VhdBitmaps(file, _bitmapSize, block => DataOffset(block) - _bitmapSize);
        _dataEnd = FindDataEnd();
    }

    public override DiskFormat Format => DiskFormat.Vhd;

    public override DiskKind Kind => Footer.DiskType == VhdDiskType.Differencing ? DiskKind.Differencing : DiskKind.Dynamic;

    public override int PhysicalSectorSize => VhdLayout.SectorSize;

    public override Guid Identity => Footer.UniqueId;

    internal VhdFooter Footer { get; }

    internal VhdDynamicHeader Header { get; }

    internal VhdTable Table { get; }

    /// <summary>Bytes of an extent: bitmap and data.</summary>
    internal int ExtentSize => _bitmapSize + BlockSize;

    /// <summary>Whether the footer at the end of the file was there and sound.</summary>
    internal bool FooterWasAtEnd => _footerAtEnd;

    private protected override bool MetadataIsDirty
    {
        get
        {
            lock (Gate)
            {
                return Table.IsDirty || _bitmaps.IsDirty;
            }
        }
    }

    /// <summary>Opens any VHD; fixed ones as flat files.</summary>
    /// <param name="file">The file; the disk owns it on success.</param>
    /// <param name="parentOf">Opens the parent a differencing disk names.</param>
    internal static VirtualDisk Open(IDiskFile file, Func<VhdDynamicHeader, VirtualDisk?> parentOf)
    {
        var footer = ReadFooter(file, out var atEnd);
        if (footer.DiskType == VhdDiskType.Fixed)
        {
            return footer.DiskSize <= file.Length - VhdFooter.Size + 1
                ? new FlatDisk(file, footer)
                : throw new DiskDamagedException(
                    file.Path, "VHD footer", file.Length - VhdFooter.Size, $"the file is shorter than the disk's {footer.DiskSize} bytes");
        }

        var buffer = new byte[VhdDynamicHeader.Size];
        if (footer.DataOffset < 0 || footer.DataOffset > file.Length)
        {
            throw new DiskDamagedException(file.Path, "VHD footer", 0, $"the dynamic header's offset, {footer.DataOffset}, is outside the file");
        }

        _ = file.Read(footer.DataOffset, buffer);
        if (!VhdDynamicHeader.TryRead(buffer, out var header, out var problem))
        {
            throw new DiskDamagedException(file.Path, "VHD dynamic header", footer.DataOffset, problem);
        }

        var table = VhdTable.Read(file, header, (footer.DiskSize + header.BlockSize - 1) / header.BlockSize);
        var parent = footer.DiskType == VhdDiskType.Differencing ? parentOf(header) : null;
        return new VhdDisk(file, footer, header, table, atEnd, parent);
    }

    /// <summary>Reads the footer from the end, or its copy from the start when the end has none.</summary>
    internal static VhdFooter ReadFooter(IDiskFile file, out bool atEnd)
    {
        var buffer = new byte[VhdFooter.Size];
        var end = file.Length;
        var problem = "the file is too short for one";
        atEnd = true;

        // Early Virtual PC wrote footers of 511 bytes.
        foreach (var size in new[] { VhdFooter.Size, VhdFooter.Size - 1 })
        {
            Array.Clear(buffer);
            if (end >= size && file.Read(end - size, buffer) >= size && VhdFooter.IsPresent(buffer)
                && VhdFooter.TryRead(buffer, out var footer, out problem))
            {
                return footer;
            }
        }

        atEnd = false;
        _ = file.Read(0, buffer);
        return VhdFooter.TryRead(buffer, out var copy, out var copyProblem)
            ? copy
            : throw new DiskDamagedException(file.Path, "VHD footer", Math.Max(0, end - VhdFooter.Size), $"{problem}; of its copy at 0, {copyProblem}");
    }

    internal override BlockEntry Lookup(long block)
    {
        var sector = Table[block];
        if (sector == VhdTable.Unused)
        {
            return new BlockEntry(BlockState.Absent, 0);
        }

        return new BlockEntry(ParentDisk is null ? BlockState.Present : BlockState.Partial, CheckedOffset(block, sector));
    }

    internal override bool RunOfSectors(long block, int sector, int limit, out int count) => _bitmaps.Run(block, sector, limit, out count);

    private protected override void BeginModification()
    {
        if (!_footerAtEnd || !CopyMatches())
        {
            DataFile.SetLength(_dataEnd + VhdFooter.Size);
            StoreFooter(Footer);
        }
    }

    private protected override void Commit()
    {
        var sectors = new List<LogPage>();
        lock (Gate)
        {
            _bitmaps.TakeDirty(sectors);
            Table.TakeDirty(sectors);
        }

        DataFile.Flush();
        if (sectors.Count == 0)
        {
            return;
        }

        foreach (var sector in sectors)
        {
            DataFile.Write(sector.FileOffset, sector.Content.Span);
        }

        DataFile.Flush();
    }

    private protected override void FinishClean()
    {
    }

    private protected override (int Alignment, int Lead, long End) ExtentPlaces => (VhdLayout.SectorSize, _bitmapSize, _dataEnd);

    private protected override long AppendExtent()
    {
        var extent = _dataEnd;
        var end = extent + ExtentSize;
        if ((end / VhdLayout.SectorSize) >= VhdTable.Unused)
        {
            throw new BlockIOException($"{Path}: the file has reached the {VhdTable.Unused} sectors that a VHD can address. Compact it, or convert it to VHDX.");
        }

        DataFile.SetLength(end + VhdFooter.Size);
        DataFile.Write(end, Footer.Build());
        Volatile.Write(ref _dataEnd, end);
        return extent + _bitmapSize;
    }

    private protected override void ClearExtent(long fileOffset) => DataFile.Zero(fileOffset, BlockSize);

    private protected override void SetEntry(long block, BlockEntry entry)
    {
        if (entry.State is BlockState.Absent or BlockState.Zero)
        {
            _bitmaps.Forget(block);
            Table.Set(block, VhdTable.Unused);
            return;
        }

        var bitmapOffset = entry.FileOffset - _bitmapSize;
        var sector = (uint)(bitmapOffset / VhdLayout.SectorSize);
        if (Table[block] == sector)
        {
            _bitmaps.Mark(block, 0, BlockSize / VhdLayout.SectorSize); // partial before, whole now
            return;
        }

        // Not yet reachable, so it need not wait for the commit; the table's sector does.
        _bitmaps.Start(block, bitmapOffset, allHere: entry.State == BlockState.Present);
        Table.Set(block, sector);
    }

    private protected override void ClearSectors(long block)
    {
        // The bitmap comes with the extent.
    }

    private protected override void MarkSectors(long block, int sector, int count)
    {
        lock (Gate)
        {
            if (Lookup(block).State == BlockState.Partial && !(_bitmaps.Run(block, sector, count, out var run) && run == count))
            {
                _bitmaps.Mark(block, sector, count);
            }
        }
    }

    // The format cannot say "zero" over a parent: the sectors must be there.
    private protected override void ReleaseBlock(long block, bool mustBeZero)
    {
        if (ParentDisk is null)
        {
            base.ReleaseBlock(block, mustBeZero);
        }
        else
        {
            DiscardSectors(block, 0, (int)Math.Min(BlockSize, Length - (block * BlockSize)), mustBeZero);
        }
    }

    /// <summary>Whether the footer's copy at the start says what the footer says; a crash between the two leaves them apart.</summary>
    internal bool CopyMatches()
    {
        var copy = new byte[VhdFooter.Size];
        _ = DataFile.Read(0, copy);
        return VhdFooter.TryRead(copy, out var footer, out _) && footer == Footer;
    }

    private long DataOffset(long block) => CheckedOffset(block, Table[block]);

    private long CheckedOffset(long block, uint sector)
    {
        var offset = ((long)sector * VhdLayout.SectorSize) + _bitmapSize;
        return sector != 0 && offset + BlockSize <= Volatile.Read(ref _dataEnd)
            ? offset
            : throw BadEntry(block, $"it points to sector {sector}, outside the file");
    }

    private protected override DiskDamagedException BadEntry(long owner, string problem) =>
        new(Path, $"VHD block allocation table, entry {owner}", Table.OffsetOf(owner), problem);

    // The last block of a file whose footer a crash cost may reach up to its very end.
    private long FindDataEnd()
    {
        var end = _footerAtEnd ? (DataFile.Length - VhdFooter.Size + 1) & -VhdLayout.SectorSize : VhdLayout.AlignUp(DataFile.Length);
        return Math.Max(end, VhdLayout.AlignUp(Table.OffsetOf(Table.Entries)));
    }
}
