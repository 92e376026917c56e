using Vitro.Storage.Files;

namespace Vitro.Storage.Operations;

/// <summary>Copies pieces of one disk into another, leaving zeroes out; for one thread at a time.</summary>
/// <param name="source">The disk to read.</param>
/// <param name="target">The disk to write.</param>
/// <param name="targetIsZero">The target is new: zeroes need not be written.</param>
/// <param name="limit">Longest piece.</param>
internal sealed class ChunkCopier(VirtualDisk source, VirtualDisk target, bool targetIsZero, int limit)
{
    private const int ZeroGrain = 64 << 10;

    private readonly Memory<byte>[] _list = [AlignedBuffer.Allocate(limit)];

    internal void Copy(long offset, int length)
    {
        _ = source.Read(offset, new BufferSlice(_list, 0, length), cachedOnly: false);
        var data = _list[0].Span[..length];
        for (var at = 0; at < length;)
        {
            var zero = IsZero(data.Slice(at, Math.Min(ZeroGrain, length - at)));
            var run = Math.Min(ZeroGrain, length - at);
            while (at + run < length && IsZero(data.Slice(at + run, Math.Min(ZeroGrain, length - at - run))) == zero)
            {
                run += Math.Min(ZeroGrain, length - at - run);
            }

            if (!zero)
            {
                target.Write(offset + at, new BufferSlice(_list, at, run), durable: false);
            }
            else if (!targetIsZero)
            {
                target.Zero(offset + at, run);
            }

            at += run;
        }
    }

    private static bool IsZero(ReadOnlySpan<byte> data) => !data.ContainsAnyExcept((byte)0);
}
