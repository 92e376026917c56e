using System.Collections.Concurrent;
using Vitro.Storage.Files;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage.Vhd;

/// <summary>The bitmaps before the blocks of a differencing VHD; the most significant bit of a byte is its first sector.</summary>
/// <remarks>Reading needs no lock; changes are made under the disk's gate.</remarks>
internal sealed class VhdBitmaps(IDiskFile file, int size, Func<long, long> offsetOf)
{
    private readonly ConcurrentDictionary<long, byte[]> _bitmaps = new();
    private readonly SortedSet<long> _dirty = [];

    internal bool IsDirty => _dirty.Count > 0;

    internal bool Run(long block, int sector, int limit, out int count)
    {
        var bitmap = Of(block);
        var value = Bit(bitmap, sector);
        count = 1;
        while (count < limit && Bit(bitmap, sector + count) == value)
        {
            count++;
        }

        return value;
    }

    internal void Mark(long block, int sector, int count)
    {
        var bitmap = Of(block);
        for (var i = sector; i < sector + count; i++)
        {
            Volatile.Write(ref bitmap[i >> 3], (byte)(bitmap[i >> 3] | (0x80 >> (i & 7))));
        }

        _dirty.Add(block);
    }

    /// <summary>Writes the first bitmap of an extent that no durable table entry knows yet.</summary>
    internal void Start(long block, long bitmapOffset, bool allHere)
    {
        var bitmap = new byte[size];
        if (allHere)
        {
            bitmap.AsSpan().Fill(0xFF);
        }

        file.Write(bitmapOffset, bitmap);
        _bitmaps[block] = bitmap;
        _dirty.Remove(block);
    }

    internal void Forget(long block)
    {
        _bitmaps.TryRemove(block, out _);
        _dirty.Remove(block);
    }

    internal void TakeDirty(List<LogPage> sectors)
    {
        foreach (var block in _dirty)
        {
            sectors.Add(new LogPage(offsetOf(block), _bitmaps[block].ToArray()));
        }

        _dirty.Clear();
    }

    private static bool Bit(byte[] bitmap, int sector) => (Volatile.Read(ref bitmap[sector >> 3]) & (0x80 >> (sector & 7))) != 0;

    private byte[] Of(long block)
    {
        if (_bitmaps.TryGetValue(block, out var bitmap))
        {
            return bitmap;
        }

        bitmap = new byte[size];
        var offset = offsetOf(block);
        return file.Read(offset, bitmap) == size
            ? _bitmaps.GetOrAdd(block, bitmap)
            : throw new DiskDamagedException(file.Path, $"VHD bitmap of block {block}", offset, "the file ends inside it");
    }
}
