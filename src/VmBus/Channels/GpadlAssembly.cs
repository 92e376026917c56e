using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Immutable;

namespace Vitro.VmBus.Channels;

/// <summary>
/// A GPADL on its way in: the range buffer of a header and its bodies, taken as a stream of 64-bit words. Word counts
/// come from byte count and offset of each range, since the length field of the header wraps at 64 KiB.
/// </summary>
internal sealed class GpadlAssembly
{
    private readonly ImmutableArray<GpadlRange>.Builder _ranges = ImmutableArray.CreateBuilder<GpadlRange>();
    private readonly ImmutableArray<ulong>.Builder _pages = ImmutableArray.CreateBuilder<ulong>();
    private uint _byteCount;
    private uint _byteOffset;
    private int _pagesLeft;

    internal GpadlAssembly(uint channelId, uint handle, ushort rangeCount)
    {
        ChannelId = channelId;
        Handle = handle;
        RangeCount = rangeCount;
    }

    internal uint ChannelId { get; }

    internal uint Handle { get; }

    internal int RangeCount { get; }

    /// <summary>Pages the ranges announced so far need.</summary>
    internal int PageCount { get; private set; }

    internal bool IsComplete => _ranges.Count == RangeCount;

    /// <summary>Takes the next words; false when a range is malformed or the list would pass <paramref name="pageLimit"/>.</summary>
    internal bool TryAppend(ReadOnlySpan<byte> words, int pageLimit)
    {
        if (RangeCount == 0)
        {
            return false;
        }

        while (words.Length >= 8 && !IsComplete)
        {
            if (_pagesLeft == 0)
            {
                _byteCount = BinaryPrimitives.ReadUInt32LittleEndian(words);
                _byteOffset = BinaryPrimitives.ReadUInt32LittleEndian(words[4..]);
                var pages = ((ulong)_byteCount + _byteOffset + 4095) / 4096;
                if (_byteCount == 0 || _byteOffset >= 4096 || pages > (ulong)(pageLimit - PageCount))
                {
                    return false;
                }

                _pagesLeft = (int)pages;
                PageCount += (int)pages;
            }
            else
            {
                _pages.Add(BinaryPrimitives.ReadUInt64LittleEndian(words));
                if (--_pagesLeft == 0)
                {
                    _ranges.Add(new GpadlRange(_byteCount, _byteOffset, _pages.ToImmutable()));
                    _pages.Clear();
                }
            }

            words = words[8..];
        }

        return true;
    }

    /// <summary>Gives back the words taken so far.</summary>
    internal void CopyWords(ArrayBufferWriter<byte> words)
    {
        foreach (var range in _ranges)
        {
            SavedGpadl.Append(words, range.ByteCount, range.ByteOffset, range.PageNumbers.AsSpan());
        }

        if (_pagesLeft > 0)
        {
            SavedGpadl.Append(words, _byteCount, _byteOffset, _pages.ToArray());
        }
    }

    internal Gpadl ToGpadl() => new(Handle, _ranges.ToImmutable());
}
