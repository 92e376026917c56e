namespace Vitro.Storage.Files;

/// <summary>A byte range of a request's list of buffers.</summary>
internal readonly struct BufferSlice
{
    internal BufferSlice(ReadOnlyMemory<Memory<byte>> buffers, long skip, int length)
    {
        Buffers = buffers;
        Skip = skip;
        Length = length;
    }

    internal ReadOnlyMemory<Memory<byte>> Buffers { get; }

    /// <summary>Bytes of the list before the slice.</summary>
    internal long Skip { get; }

    internal int Length { get; }

    /// <summary>The whole of one buffer; allocates its list, so not for the fast path.</summary>
    internal static BufferSlice Of(Memory<byte> buffer) => new(new[] { buffer }, 0, buffer.Length);

    internal BufferSlice Slice(int start, int length) => new(Buffers, Skip + start, length);

    internal void Clear()
    {
        var skip = Skip;
        var left = Length;
        foreach (var buffer in Buffers.Span)
        {
            if (skip >= buffer.Length)
            {
                skip -= buffer.Length;
                continue;
            }

            var take = (int)Math.Min(buffer.Length - skip, left);
            buffer.Span.Slice((int)skip, take).Clear();
            skip = 0;
            left -= take;
            if (left == 0)
            {
                return;
            }
        }
    }

    /// <summary>Copies bytes into the slice from its start.</summary>
    internal void CopyFrom(ReadOnlySpan<byte> source)
    {
        var skip = Skip;
        foreach (var buffer in Buffers.Span)
        {
            if (source.IsEmpty)
            {
                return;
            }

            if (skip >= buffer.Length)
            {
                skip -= buffer.Length;
                continue;
            }

            var take = (int)Math.Min(buffer.Length - skip, source.Length);
            source[..take].CopyTo(buffer.Span[(int)skip..]);
            source = source[take..];
            skip = 0;
        }
    }

    /// <summary>Copies the slice's first bytes out.</summary>
    internal void CopyTo(Span<byte> target)
    {
        var skip = Skip;
        foreach (var buffer in Buffers.Span)
        {
            if (target.IsEmpty)
            {
                return;
            }

            if (skip >= buffer.Length)
            {
                skip -= buffer.Length;
                continue;
            }

            var take = (int)Math.Min(buffer.Length - skip, target.Length);
            buffer.Span.Slice((int)skip, take).CopyTo(target);
            target = target[take..];
            skip = 0;
        }
    }
}
