using System.Buffers.Binary;
using Vitro.Storage.Files;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage.Vhd;

/// <summary>The block allocation table of an open VHD: a sector number a block, big-endian.</summary>
/// <remarks>Held whole: the largest disk has a million blocks. Reading needs no lock; changes are made under the disk's gate.</remarks>
internal sealed class VhdTable
{
    internal const uint Unused = uint.MaxValue;

    private const int EntriesPerSector = VhdLayout.SectorSize / sizeof(uint);

    private readonly long _offset;
    private readonly uint[] _entries;
    private readonly SortedSet<int> _dirty = [];

    private VhdTable(long offset, uint[] entries)
    {
        _offset = offset;
        _entries = entries;
    }

    internal int Entries => _entries.Length;

    internal bool IsDirty => _dirty.Count > 0;

    internal uint this[long index] => Volatile.Read(ref _entries[index]);

    internal static VhdTable Read(IDiskFile file, VhdDynamicHeader header, long blocks)
    {
        var bytes = header.TableEntries * sizeof(uint);
        if (header.TableEntries < blocks || header.TableOffset + bytes > file.Length)
        {
            throw new DiskDamagedException(
                file.Path, "VHD block allocation table", header.TableOffset,
                $"{header.TableEntries} entries do not serve {blocks} blocks or go beyond the end of the file");
        }

        var entries = new uint[header.TableEntries];
        var buffer = new byte[bytes];
        _ = file.Read(header.TableOffset, buffer);
        for (var i = 0; i < entries.Length; i++)
        {
            entries[i] = BinaryPrimitives.ReadUInt32BigEndian(buffer.AsSpan(i * sizeof(uint)));
        }

        return new VhdTable(header.TableOffset, entries);
    }

    internal long OffsetOf(long index) => _offset + (index * sizeof(uint));

    internal void Set(long index, uint sector)
    {
        Volatile.Write(ref _entries[index], sector);
        _dirty.Add((int)(index / EntriesPerSector));
    }

    internal void TakeDirty(List<LogPage> sectors)
    {
        foreach (var number in _dirty)
        {
            var content = new byte[VhdLayout.SectorSize];
            content.AsSpan().Fill(0xFF);
            for (var i = 0; i < EntriesPerSector && (number * EntriesPerSector) + i < _entries.Length; i++)
            {
                BinaryPrimitives.WriteUInt32BigEndian(content.AsSpan(i * sizeof(uint)), _entries[(number * EntriesPerSector) + i]);
            }

            sectors.Add(new LogPage(_offset + ((long)number * VhdLayout.SectorSize), content));
        }

        _dirty.Clear();
    }
}
