using Vitro.Storage.Files;
using Vitro.Storage.Sparse;

namespace Vitro.Storage.Vhdx;

/// <summary>An open VHDX file.</summary>
/// <remarks>docs/design/vhdx-log.md tells in which order its writes become durable and why that is enough.</remarks>
internal sealed partial class VhdxDisk : BlockMappedDisk
{
    private readonly HeaderPair _headers;
    private readonly BatGeometry _geometry;
    private readonly SectorBitmaps _bitmaps;
    private readonly int _sectorsPerBlock;
    private VhdxLog? _log;
    private long _fileEnd;

    private VhdxDisk(IDiskFile file, HeaderPair headers, RegionTable regions, VhdxMetadata metadata, VirtualDisk? parent)
        : base(file, metadata.DiskSize, metadata.BlockSize, metadata.LogicalSectorSize, parent)
    {
        _headers = headers;
        Regions = regions;
        Metadata = metadata;
        _geometry = new BatGeometry(metadata.DiskSize, metadata.BlockSize, metadata.LogicalSectorSize, metadata.HasParent);
        _sectorsPerBlock = metadata.BlockSize / metadata.LogicalSectorSize;
        _fileEnd = VhdxLayout.AlignUp(file.Length, VhdxLayout.Megabyte);
        Bat = new BlockAllocationTable(file, (long)regions.Bat.FileOffset, _geometry.Entries);
        _bitmaps = new SectorBitmaps(file, BitmapBlockOffset);
    }

    public override DiskFormat Format => DiskFormat.Vhdx;

    public override DiskKind Kind =>
        Metadata.HasParent ? DiskKind.Differencing : Metadata.LeaveBlocksAllocated ? DiskKind.Fixed : DiskKind.Dynamic;

    public override int PhysicalSectorSize => Metadata.PhysicalSectorSize;

    public override Guid Identity => Metadata.DiskIdentity;

    /// <summary>Changes whenever the content may have changed: what a child remembers of its parent.</summary>
    internal Guid DataWriteGuid => _headers.Current.DataWriteGuid;

    /// <summary>Changes in every session that writes to the file, whether the content changes or not.</summary>
    internal Guid FileWriteGuid => _headers.Current.FileWriteGuid;

    public override Guid ContentIdentity => DataWriteGuid;

    internal VhdxMetadata Metadata { get; private set; }

    internal RegionTable Regions { get; }

    internal VhdxHeader Header => _headers.Current;

    internal BlockAllocationTable Bat { get; }

    internal BatGeometry Geometry => _geometry;

    /// <summary>Keeps <see cref="DataWriteGuid"/> through changes, because the content as seen through the children stays.</summary>
    internal bool KeepDataIdentity { get; init; }

    private protected override bool MetadataIsDirty
    {
        get
        {
            lock (Gate)
            {
                return Bat.IsDirty || _bitmaps.IsDirty;
            }
        }
    }

    /// <summary>Opens a file, replaying its log: into the file when it is writable, else in memory.</summary>
    /// <param name="file">The file; the disk owns it on success.</param>
    /// <param name="parentOf">Opens the parent a differencing disk names.</param>
    /// <param name="keepDataIdentity">See <see cref="KeepDataIdentity"/>.</param>
    internal static VhdxDisk Open(IDiskFile file, Func<ParentLocator, VhdxMetadata, VirtualDisk?> parentOf, bool keepDataIdentity = false)
    {
        var headers = HeaderPair.Read(file);
        if (headers.Current.LogGuid != Guid.Empty)
        {
            var entries = LogReplay.Find(file, headers.Current);
            if (file.IsReadOnly)
            {
                file = new OverlayFile(file, entries);
            }
            else
            {
                // Everything the replay will lead to is read first: a file is not written to before it is known to be sound.
                _ = ReadStructures(new OverlayFile(file, entries), headers.Current);
                Apply(file, entries);
                headers.Update(headers.Current with { LogGuid = Guid.Empty });
            }
        }

        var (regions, metadata) = ReadStructures(file, headers.Current);
        var parent = metadata.HasParent ? parentOf(metadata.ParentLocator!, metadata) : null;
        return new VhdxDisk(file, headers, regions, metadata, parent) { KeepDataIdentity = keepDataIdentity };
    }

    internal override BlockEntry Lookup(long block)
    {
        var index = _geometry.PayloadIndex(block);
        var entry = Bat[index];
        switch (entry.State)
        {
            case BatState.FullyPresent:
                return new BlockEntry(BlockState.Present, CheckExtent(index, entry.FileOffset, BlockSize));
            case BatState.PartiallyPresent when Metadata.HasParent:
                return new BlockEntry(BlockState.Partial, CheckExtent(index, entry.FileOffset, BlockSize));
            case BatState.NotPresent:
                return new BlockEntry(BlockState.Absent, 0);
            case BatState.Undefined:
            case BatState.Zero:
            case BatState.Unmapped:
                return new BlockEntry(BlockState.Zero, 0);
            default:
                throw BadEntry(index, $"the state {(int)entry.State} of block {block} is not allowed");
        }
    }

    internal override bool RunOfSectors(long block, int sector, int limit, out int count) =>
        _bitmaps.Run((block * _sectorsPerBlock) + sector, limit, out count);

    private protected override void BeginModification()
    {
        if (Regions.SecondCopyIsOlder(DataFile))
        {
            Regions.Store(DataFile);
        }

        _log = new VhdxLog(DataFile, _headers.Current);
        _headers.Update(_headers.Current with
        {
            FileWriteGuid = Guid.NewGuid(),
            DataWriteGuid = KeepDataIdentity ? _headers.Current.DataWriteGuid : Guid.NewGuid(),
        });
    }

    private protected override void Commit()
    {
        // What the snapshot points to was written before it was taken; the sync makes that durable, and only then the log says so.
        var pages = new List<LogPage>();
        lock (Gate)
        {
            _bitmaps.TakeDirty(pages);
            Bat.TakeDirty(pages);
        }

        DataFile.Flush();
        if (pages.Count > 0)
        {
            CommitPages(pages);
        }
    }

    private protected override void FinishClean()
    {
        DataFile.Flush();
        if (_headers.Current.LogGuid != Guid.Empty)
        {
            _headers.Update(_headers.Current with { LogGuid = Guid.Empty });
        }
    }

    // A crash can leave a file that ends inside a megabyte: that one is no place, for what is put there might not reach the file's end.
    private protected override (int Alignment, int Lead, long End) ExtentPlaces =>
        (VhdxLayout.Megabyte, 0, DataFile.Length & -VhdxLayout.Megabyte);

    private protected override long AppendExtent() => Extend(BlockSize);

    private protected override void ClearExtent(long fileOffset) => DataFile.Zero(fileOffset, BlockSize);

    private protected override void SetEntry(long block, BlockEntry entry)
    {
        var state = entry.State switch
        {
            BlockState.Present => BatState.FullyPresent,
            BlockState.Partial => BatState.PartiallyPresent,
            BlockState.Zero => BatState.Zero,
            _ => BatState.Unmapped,
        };
        Bat.Set(_geometry.PayloadIndex(block), new BatEntry(state, entry.FileOffset));
    }

    private protected override void ClearSectors(long block)
    {
        var chunk = block / _geometry.ChunkRatio;
        var index = _geometry.BitmapIndex(chunk);
        if (Bat[index].State != BatState.FullyPresent)
        {
            var offset = Extend(VhdxLayout.Megabyte);
            Bat.Set(index, new BatEntry(BatState.FullyPresent, offset));
            _bitmaps.StartBlock(chunk);
            return;
        }

        _bitmaps.Fill(block * _sectorsPerBlock, _sectorsPerBlock, value: false);
    }

    private protected override void MarkSectors(long block, int sector, int count)
    {
        lock (Gate)
        {
            if (Lookup(block).State == BlockState.Partial && !(RunOfSectors(block, sector, count, out var run) && run == count))
            {
                _bitmaps.Fill((block * _sectorsPerBlock) + sector, count, value: true);
            }
        }
    }

    private static (RegionTable Regions, VhdxMetadata Metadata) ReadStructures(IDiskFile file, VhdxHeader header)
    {
        var regions = RegionTable.Read(file);
        var metadata = VhdxMetadata.Read(file, regions.Metadata);
        var geometry = new BatGeometry(metadata.DiskSize, metadata.BlockSize, metadata.LogicalSectorSize, metadata.HasParent);
        var bat = regions.Bat;
        if (geometry.Entries * BatGeometry.EntrySize > bat.Length)
        {
            throw new DiskDamagedException(
                file.Path, "VHDX block allocation table", (long)bat.FileOffset,
                $"its {bat.Length} bytes are too few for the {geometry.Entries} entries of a disk of {metadata.DiskSize} bytes");
        }

        // The table's size decides how much memory it may take: it must really be in the file.
        if ((long)bat.FileOffset + bat.Length > file.Length)
        {
            throw new DiskDamagedException(file.Path, "VHDX block allocation table", (long)bat.FileOffset, "the file ends inside it");
        }

        return header.LogOffset + header.LogLength <= (ulong)file.Length
            ? (regions, metadata)
            : throw new DiskDamagedException(file.Path, "VHDX log", (long)header.LogOffset, "the file ends inside it");
    }

    private static void Apply(IDiskFile file, IReadOnlyList<LogEntry> entries)
    {
        foreach (var entry in entries)
        {
            if ((ulong)file.Length < entry.LastFileOffset)
            {
                file.SetLength((long)entry.LastFileOffset);
            }

            foreach (var (offset, length) in entry.ZeroRanges)
            {
                file.Zero(offset, length);
            }

            foreach (var page in entry.Pages)
            {
                file.Write(page.FileOffset, page.Content.Span);
            }
        }

        file.Flush();
    }

    private void CommitPages(List<LogPage> pages)
    {
        if (_headers.Current.LogGuid == Guid.Empty)
        {
            // An empty log under a non-empty identity cannot be replayed, so the first entry must be there before the header says so;
            // entries of older openings are told apart by their identity.
            _log!.Commit(pages, beforeFirstPlacing: () => _headers.Update(_headers.Current with { LogGuid = _log.Guid }));
            return;
        }

        _log!.Commit(pages);
    }

    private long BitmapBlockOffset(long chunk)
    {
        var index = _geometry.BitmapIndex(chunk);
        var entry = Bat[index];
        return entry.State == BatState.FullyPresent
            ? CheckExtent(index, entry.FileOffset, VhdxLayout.Megabyte)
            : throw BadEntry(index, "a block is partially present, but its sector bitmap block is not there");
    }

    // Under the gate. New space at the end of the file is zero by itself.
    private long Extend(int length)
    {
        var offset = _fileEnd;
        DataFile.SetLength(offset + length);
        Volatile.Write(ref _fileEnd, offset + length);
        return offset;
    }

    private long CheckExtent(long index, long offset, int length) =>
        offset >= VhdxLayout.Megabyte && offset <= Volatile.Read(ref _fileEnd) - length
            ? offset
            : throw BadEntry(index, $"it points to {length} bytes at {offset}, outside the file");

    private protected override DiskDamagedException BadEntry(long owner, string problem) =>
        new(Path, $"VHDX block allocation table, entry {owner}", Bat.OffsetOf(owner), problem);
}
