using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// Memory of decoded blocks: a ring of segments, filled one after the other; when the last is full the oldest is emptied for
/// new blocks, so that a full cache costs little at a time. Called under the block cache's lock.
/// </summary>
/// <remarks>
/// A segment is emptied by giving it other memory. Its own waits until no processor can still hold a pointer into it, as one does that
/// is inside an instruction: epochs, which rise with each segment emptied, tell. Segments are cut off chunks in large pages, one behind the
/// other and none larger than what it was first filled to, so that no page is backed for nothing.
/// </remarks>
internal sealed unsafe class CodeArena : IDisposable
{
    private const int LargestSegment = 4 << 20;
    private const int SmallestSegment = 256 << 10;
    private const int ChunkSize = 32 << 20;
    private const int PopulatedAtOnce = 128 << 10;
    private const int PopulatedAhead = 8 << 10;

    private readonly Segment[] _segments;
    private readonly Queue<(Segment Memory, ulong Epoch)> _waiting = [];
    private readonly List<nint> _chunks = [];
    private byte* _rest;
    private byte* _chunkEnd;
    private byte* _populated;
    private int _current;

    /// <summary>Creates a ring of so many segments, at least two; memory is taken as it is used.</summary>
    public CodeArena(int segments)
    {
        _segments = new Segment[segments];
        Begin(ref _segments[0]);
    }

    /// <summary>Where the next block goes.</summary>
    public byte* Free => _segments[_current].Free;

    /// <summary>Bytes left in the present segment.</summary>
    public int Remaining => (int)(_segments[_current].End - _segments[_current].Free);

    /// <summary>Number of the segment that is filled next.</summary>
    public int Next => (_current + 1) % _segments.Length;

    /// <summary>Says where the block that begins at <see cref="Free"/> ends.</summary>
    public void Take(byte* end)
    {
        _segments[_current].Free = end;
        if (end + PopulatedAhead > _populated)
        {
            Populate();
        }
    }

    /// <summary>The first block of a segment, dead or alive, or null.</summary>
    public CodeBlock* First(int segment) => _segments[segment].Start == _segments[segment].Free ? null : (CodeBlock*)_segments[segment].Start;

    /// <summary>The block behind one, or null.</summary>
    public CodeBlock* Following(int segment, CodeBlock* block)
    {
        var end = CodeBlock.End(block);
        return end == _segments[segment].Free ? null : (CodeBlock*)end;
    }

    /// <summary>Goes on in the next segment, whose blocks are dead.</summary>
    /// <param name="epoch">The present epoch, in which somebody may still hold pointers into that segment.</param>
    /// <param name="held">The earliest epoch since which somebody holds pointers; earlier ones are of no use to anybody.</param>
    public void Advance(ulong epoch, ulong held)
    {
        Trim(ref _segments[_current]);
        _current = Next;
        ref var segment = ref _segments[_current];
        if (segment.Start != segment.Free)
        {
            _waiting.Enqueue((segment, epoch));
            segment = _waiting.Peek().Epoch <= held ? _waiting.Dequeue().Memory : default;
        }

        Begin(ref segment);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var chunk in _chunks)
        {
            BackedMemory.Free((void*)chunk);
        }
    }

    private void Begin(ref Segment segment)
    {
        if (segment.Start == null)
        {
            if (_chunkEnd - _rest < LargestSegment)
            {
                _rest = (byte*)BackedMemory.AllocateLarge(ChunkSize);
                _chunkEnd = _rest + ChunkSize;
                _chunks.Add((nint)_rest);
            }

            segment.Start = _rest;
            segment.End = _rest + LargestSegment;
        }

        segment.Free = segment.Start;
        _populated = segment.Start;
        Populate();
    }

    // The next segment begins behind what the one that was cut off last is filled to.
    private void Trim(ref Segment segment)
    {
        if (segment.Start == _rest)
        {
            var used = Math.Max(segment.Free - segment.Start, SmallestSegment);
            segment.End = segment.Start + ((used + 4095) & ~4095);
            _rest = segment.End;
        }
    }

    // A fault for each page would cost more than decoding what fills it.
    private void Populate()
    {
        var length = Math.Min(PopulatedAtOnce, _segments[_current].End - _populated);
        if (length > 0)
        {
            BackedMemory.Populate(_populated, (nuint)length);
            _populated += length;
        }
    }

    private struct Segment
    {
        public byte* Start;
        public byte* Free;
        public byte* End;
    }
}
