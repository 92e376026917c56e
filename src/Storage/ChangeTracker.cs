using System.Numerics;
using System.Runtime.InteropServices;
using Vitro.Storage.Files;
using Vitro.Storage.Tracking;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>A part of a disk that changed, in bytes.</summary>
public readonly record struct ChangedRange(long Offset, long Length);

/// <summary>Remembers, through restarts and crashes, which parts of a VHDX have changed since a point in time.</summary>
/// <remarks>
/// <para>The record is a file beside the disk (<c>.rct</c>). It may say "changed" of what did not change, never the contrary: a
/// region of 4,096 granules, with its neighbours, is durably marked before its first change of a session; the exact bits are kept in memory and stored
/// at the end. After a crash, marked regions count as changed whole. Changes made while nobody tracked are noticed by the file's
/// write identity, which every session that writes renews (a merge into the disk too, which leaves the data identity as it is),
/// and then all counts as changed.</para>
/// <para>Thread-safe. Dispose after the last write, before or after the disk.</para>
/// </remarks>
public sealed class ChangeTracker : IChangeObserver, IDisposable
{
    private const int RegionShift = 12;
    private const int GranulesPerRegion = 1 << RegionShift;
    private const int SmallestGranule = 64 << 10;
    private const long MostGranules = 8 << 20;
    private const int WordShift = 6;
    private const int WordBits = 1 << WordShift;
    private const int FirstGroup = 4;
    private const int LargestGroup = 16;

    private readonly IDiskFileSystem _files;
    private readonly VhdxDisk _disk;
    private readonly string _path;
    private readonly object _gate = new();
    private IDiskFile _file;
    private ChangeTrackingHeader _header;
    private State _state;
    private int _group = FirstGroup;
    private bool _begun;
    private bool _disposed;

    private ChangeTracker(IDiskFileSystem files, VhdxDisk disk, string path, IDiskFile file, ChangeTrackingHeader header, State state)
    {
        _files = files;
        _disk = disk;
        _path = path;
        _file = file;
        _header = header;
        _state = state;
    }

    /// <summary>The point that changes are counted from; whoever stores a copy of the disk stores this with it.</summary>
    public Guid PointId => _header.PointId;

    /// <summary>Bytes that a change marks at least.</summary>
    public int Granule => _header.Granule;

    /// <summary>Begins to track a disk's changes, going on from the record that is there; a new record begins a new point.</summary>
    /// <param name="disk">A VHDX open for writing, to which nothing has been written yet.</param>
    /// <param name="path">The record; by default beside the disk, with the ending <c>.rct</c>.</param>
    /// <exception cref="BlockIOException">The disk is of another format or read-only, or the record cannot be written.</exception>
    public static ChangeTracker Attach(VirtualDisk disk, string? path = null) => Attach(disk, path, HostDiskFileSystem.Instance);

    internal static ChangeTracker Attach(VirtualDisk disk, string? path, IDiskFileSystem files)
    {
        if (disk is not VhdxDisk { IsReadOnly: false } vhdx)
        {
            throw new BlockIOException($"{disk?.Path}: changes are tracked on a VHDX that is open for writing; convert other formats.");
        }

        path ??= disk.Path + ".rct";
        var granule = (int)Math.Max(SmallestGranule, (long)BitOperations.RoundUpToPowerOf2((ulong)((disk.Length + MostGranules - 1) / MostGranules)));
        var fresh = new ChangeTrackingHeader(Guid.NewGuid(), vhdx.FileWriteGuid, disk.Length, granule, IsClosed: true);
        if (!files.Exists(path))
        {
            NewFile.Write(files, path, created => Store(created, fresh, new State(fresh)));
        }

        var file = files.Open(path, writable: true, DiskLocking.Normal);
        var buffer = new byte[ChangeTrackingHeader.Size];
        _ = file.Read(0, buffer);
        if (!ChangeTrackingHeader.TryRead(buffer, out var header) || header.DiskLength != disk.Length)
        {
            // A damaged record, or one of another size, proves nothing: the point stays unknown and everything counts as changed.
            header = fresh;
            var all = new State(header);
            all.Fill(0, header.Bits);
            Store(file, header, all);
            return Start(all);
        }

        var state = new State(header);
        if (header.WriteIdentity != vhdx.FileWriteGuid)
        {
            state.Fill(0, header.Bits);
        }
        else
        {
            state.Load(file, header);
        }

        return Start(state);

        ChangeTracker Start(State loaded)
        {
            var tracker = new ChangeTracker(files, vhdx, path, file, header, loaded);
            vhdx.Changes.Add(tracker);
            return tracker;
        }
    }

    /// <summary>What has changed since the point, in order; whole granules, at most to the disk's end.</summary>
    public IReadOnlyList<ChangedRange> Changes() => _state.Ranges(_header);

    /// <summary>
    /// Begins a new point. Every write that the old one counts has reached the disk when this returns; a copy read afterwards, and
    /// the changes since the new point, miss nothing.
    /// </summary>
    /// <returns>What changed between the old point and the new.</returns>
    public IReadOnlyList<ChangedRange> StartPoint()
    {
        State old;
        ChangeTrackingHeader oldHeader;
        lock (_gate)
        {
            (old, oldHeader) = (_state, _header);
            var header = _header with { PointId = Guid.NewGuid(), WriteIdentity = _disk.FileWriteGuid, IsClosed = !_begun };
            var state = new State(header);
            NewFile.Write(_files, _path, created => Store(created, header, state));
            var file = _files.Open(_path, writable: true, DiskLocking.Normal);
            _file.Dispose();
            (_file, _header) = (file, header);
            Volatile.Write(ref _state, state);
        }

        // Requests that marked the old record may still be writing; after this they are not.
        _disk.Changes.Drain();
        return old.Ranges(oldHeader);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            _disk.Changes.Remove(this);
            if (_begun)
            {
                _state.StoreBits(_file);
                _file.Flush();
                _state.ClearRegions(_file);
                _header = _header with { IsClosed = true };
                _header.Write(_file);
                _file.Flush();
            }

            _file.Dispose();
        }
    }

    void IChangeObserver.BeforeChange(long offset, long length)
    {
        if (length == 0)
        {
            return;
        }

        var state = Volatile.Read(ref _state);
        var first = state.GranuleOf(offset);
        var last = state.GranuleOf(offset + length - 1);
        if (first == last && state.IsMarkedAndSet(first))
        {
            return; // most changes are to what has changed before
        }

        for (var region = first / GranulesPerRegion; region <= last / GranulesPerRegion; region++)
        {
            if (!state.RegionIsMarked(region))
            {
                Mark(region, ref state);
            }
        }

        for (var granule = first; granule <= last; granule++)
        {
            state.Set(granule);
        }
    }

    private static void Store(IDiskFile file, ChangeTrackingHeader header, State state)
    {
        state.Reserve(file);
        state.ClearRegions(file);
        state.StoreBits(file);
        header.Write(file);
        file.Flush();
    }

    private void Mark(long region, ref State state)
    {
        lock (_gate)
        {
            state = _state; // a new point may have begun
            if (state.RegionIsMarked(region))
            {
                return;
            }

            if (!_begun || _header.IsClosed)
            {
                // The bits that were loaded must be in the file before it is believed again: it may have been all "changed" by decision.
                state.StoreBits(_file);
                _file.Flush();
                _header = _header with { WriteIdentity = _disk.FileWriteGuid, IsClosed = false };
                _header.Write(_file);
                _begun = true;
            }

            // Each mark waits for the storage, so one serves its neighbours too, and more of them the more the disk is changed.
            state.StoreRegions(_file, region, _group);
            _file.Flush();
            state.SetRegions(region, _group);
            _group = Math.Min(_group * 2, LargestGroup);
        }
    }

    /// <summary>The bits in memory, and how they lie in the file: header, region bits, granule bits.</summary>
    private sealed class State
    {
        private readonly int _granuleShift;
        private readonly long[] _bits;
        private readonly long[] _regions;
        private readonly long _bitsOffset;

        internal State(ChangeTrackingHeader header)
        {
            _granuleShift = BitOperations.Log2((uint)header.Granule);
            _bits = new long[(header.Bits + WordBits - 1) / WordBits];
            var regions = (header.Bits + GranulesPerRegion - 1) / GranulesPerRegion;
            _regions = new long[(regions + WordBits - 1) / WordBits];
            _bitsOffset = ChangeTrackingHeader.Size + VhdxLayout.AlignUp(_regions.Length * sizeof(long), VhdxLayout.PageSize);
        }

        internal long GranuleOf(long offset) => offset >>> _granuleShift;

        internal bool IsMarkedAndSet(long granule) =>
            (Volatile.Read(ref _bits[granule >>> WordShift]) & (1L << (int)granule)) != 0
            && (Volatile.Read(ref _regions[granule >>> (RegionShift + WordShift)]) & (1L << (int)(granule >>> RegionShift))) != 0;

        internal bool RegionIsMarked(long region) => (Volatile.Read(ref _regions[region / WordBits]) >> (int)(region % WordBits) & 1) != 0;

        internal void SetRegions(long region, int group) => Interlocked.Or(ref _regions[region / WordBits], Mask(region, group));

        internal void Set(long granule)
        {
            ref var word = ref _bits[granule / WordBits];
            var mask = 1L << (int)(granule % WordBits);
            if ((Volatile.Read(ref word) & mask) == 0)
            {
                Interlocked.Or(ref word, mask);
            }
        }

        internal void Fill(long first, long end)
        {
            for (var granule = first; granule < end; granule++)
            {
                Set(granule);
            }
        }

        internal void Load(IDiskFile file, ChangeTrackingHeader header)
        {
            if (file.Read(_bitsOffset, MemoryMarshal.AsBytes(_bits.AsSpan())) != _bits.Length * sizeof(long))
            {
                Fill(0, header.Bits);
                return;
            }

            if (header.IsClosed)
            {
                return;
            }

            // A crash: of a region marked as being changed nothing is known.
            var regions = new long[_regions.Length];
            _ = file.Read(ChangeTrackingHeader.Size, MemoryMarshal.AsBytes(regions.AsSpan()));
            for (long region = 0; region * GranulesPerRegion < header.Bits; region++)
            {
                if ((regions[region / WordBits] >> (int)(region % WordBits) & 1) != 0)
                {
                    Fill(region * GranulesPerRegion, Math.Min((region + 1) * GranulesPerRegion, header.Bits));
                }
            }
        }

        internal void Reserve(IDiskFile file)
        {
            file.SetLength(_bitsOffset + (_bits.Length * sizeof(long)));
            file.Reserve(0, _bitsOffset + (_bits.Length * sizeof(long)));
        }

        internal void StoreBits(IDiskFile file) => file.Write(_bitsOffset, MemoryMarshal.AsBytes(_bits.AsSpan()));

        internal void ClearRegions(IDiskFile file) => file.Write(ChangeTrackingHeader.Size, new byte[_regions.Length * sizeof(long)]);

        internal void StoreRegions(IDiskFile file, long region, int group)
        {
            Span<long> word = [_regions[region / WordBits] | Mask(region, group)];
            file.Write(ChangeTrackingHeader.Size + (region / WordBits * sizeof(long)), MemoryMarshal.AsBytes(word));
        }

        // The group, aligned to its size, a power of two below 64: in one word of the file, which is written whole or not at all.
        private static long Mask(long region, int group) => ((1L << group) - 1) << (int)(region % WordBits & -group);

        internal List<ChangedRange> Ranges(ChangeTrackingHeader header)
        {
            var ranges = new List<ChangedRange>();
            for (long granule = 0; granule < header.Bits; granule++)
            {
                var word = Volatile.Read(ref _bits[granule / WordBits]);
                if (word == 0)
                {
                    granule |= WordBits - 1;
                    continue;
                }

                if ((word >> (int)(granule % WordBits) & 1) == 0)
                {
                    continue;
                }

                var offset = granule * header.Granule;
                var length = Math.Min(header.Granule, header.DiskLength - offset);
                if (ranges.Count > 0 && ranges[^1].Offset + ranges[^1].Length == offset)
                {
                    ranges[^1] = ranges[^1] with { Length = ranges[^1].Length + length };
                }
                else
                {
                    ranges.Add(new ChangedRange(offset, length));
                }
            }

            return ranges;
        }
    }
}
