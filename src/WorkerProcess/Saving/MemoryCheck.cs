using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace Vitro.WorkerProcess.Saving;

/// <summary>Reads all chunks of a saved machine's memory once, in the file's order and on all processors of the host, and checks them.</summary>
internal static class MemoryCheck
{
    // At most so much is read at once: long enough for the storage, little to a processor's cache.
    private const int StretchSize = 1 << 20;

    /// <returns>What is damaged; null when nothing is, or the check was given up.</returns>
    internal static string? Run(SafeFileHandle file, MemoryChunk[] chunks, Func<bool> isGivenUp)
    {
        var ordered = (MemoryChunk[])chunks.Clone();
        Array.Sort(ordered, static (a, b) => a.Offset.CompareTo(b.Offset));
        var stretches = Stretches(ordered);
        string? damage = null;
        Parallel.For(0, stretches.Count, (number, loop) =>
        {
            var (first, count, length) = stretches[number];
            if (isGivenUp())
            {
                loop.Stop();
            }
            else if (Check(file, ordered.AsSpan(first, count), length) is { } found)
            {
                Volatile.Write(ref damage, found);
                loop.Stop();
            }
        });
        return damage;
    }

    // Chunks that follow each other in the file, as far as they fit into one read. A file that somebody made may have them overlap.
    private static List<(int First, int Count, int Length)> Stretches(MemoryChunk[] ordered)
    {
        var stretches = new List<(int First, int Count, int Length)>();
        for (int first = 0, next; first < ordered.Length; first = next)
        {
            var start = ordered[first].Offset;
            var end = start + ordered[first].StoredLength;
            for (next = first + 1; next < ordered.Length && ordered[next].Offset + ordered[next].StoredLength - start <= StretchSize; next++)
            {
                end = Math.Max(end, ordered[next].Offset + ordered[next].StoredLength);
            }

            stretches.Add((first, next - first, (int)(end - start)));
        }

        return stretches;
    }

    private static string? Check(SafeFileHandle file, ReadOnlySpan<MemoryChunk> chunks, int length)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(StretchSize);
        try
        {
            var start = chunks[0].Offset;
            var read = FileReader.ReadFully(file, buffer.AsSpan(0, length), start);
            foreach (ref readonly var chunk in chunks)
            {
                var at = (int)(chunk.Offset - start);
                if (at + chunk.StoredLength > read || !chunk.Holds(buffer.AsSpan(at, (int)chunk.StoredLength)))
                {
                    return chunk.Damage;
                }
            }

            return null;
        }
        catch (IOException error)
        {
            return error.Message;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
