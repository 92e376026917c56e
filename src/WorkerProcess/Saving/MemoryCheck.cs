using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace Vitro.WorkerProcess.Saving;

/// <summary>
/// Reads all chunks of a saved machine's memory once, in the file's order, and checks them: on threads of the pool while the machine is
/// being built, and on the thread that waits for the end.
/// </summary>
/// <remarks>One caller.</remarks>
internal sealed class MemoryCheck
{
    // At most so much is read at once: long enough for the storage, little to a processor's cache.
    private const int StretchSize = 512 << 10;

    private readonly SafeFileHandle _file;
    private readonly MemoryChunk[] _ordered;
    private readonly List<Stretch> _stretches;
    private readonly Task[] _helpers;
    private int _next;
    private volatile string? _damage;
    private volatile bool _isGivenUp;

    private MemoryCheck(SafeFileHandle file, MemoryChunk[] chunks)
    {
        _file = file;
        _ordered = (MemoryChunk[])chunks.Clone();
        Array.Sort(_ordered, static (a, b) => a.Offset.CompareTo(b.Offset));
        _stretches = Stretches(_ordered);
        _helpers = new Task[Math.Max(1, Environment.ProcessorCount - 1)];
        for (var i = 0; i < _helpers.Length; i++)
        {
            _helpers[i] = Task.Run(Work);
        }
    }

    /// <summary>Begins to check.</summary>
    /// <param name="file">Open until <see cref="Finish"/> or <see cref="GiveUp"/> has returned.</param>
    /// <param name="chunks">Where memory is in it.</param>
    internal static MemoryCheck Begin(SafeFileHandle file, MemoryChunk[] chunks) => new(file, chunks);

    /// <summary>Helps until all is checked.</summary>
    /// <returns>What is damaged; null when nothing is.</returns>
    internal string? Finish()
    {
        Work();
        Task.WaitAll(_helpers);
        return _damage;
    }

    /// <summary>Leaves unchecked what has not been; returns when nobody reads any more.</summary>
    internal void GiveUp()
    {
        _isGivenUp = true;
        Task.WaitAll(_helpers);
    }

    // Chunks that follow each other in the file, as far as they fit into one read. A file that somebody made may have them overlap.
    private static List<Stretch> Stretches(MemoryChunk[] ordered)
    {
        var stretches = new List<Stretch>();
        for (int first = 0, next; first < ordered.Length; first = next)
        {
            var start = ordered[first].Offset;
            var end = start + ordered[first].StoredLength;
            for (next = first + 1; next < ordered.Length && ordered[next].Offset + ordered[next].StoredLength - start <= StretchSize; next++)
            {
                end = Math.Max(end, ordered[next].Offset + ordered[next].StoredLength);
            }

            stretches.Add(new Stretch(first, next - first, start, (int)(end - start)));
        }

        return stretches;
    }

    private void Work()
    {
        var buffer = ArrayPool<byte>.Shared.Rent(StretchSize);
        try
        {
            for (int number; !_isGivenUp && _damage is null && (number = Interlocked.Increment(ref _next) - 1) < _stretches.Count;)
            {
                if (Check(_stretches[number], buffer) is { } found)
                {
                    _damage = found;
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private string? Check(Stretch stretch, byte[] buffer)
    {
        try
        {
            var read = FileReader.ReadFully(_file, buffer.AsSpan(0, stretch.Length), stretch.Start);
            foreach (ref readonly var chunk in _ordered.AsSpan(stretch.First, stretch.Count))
            {
                var at = (int)(chunk.Offset - stretch.Start);
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
    }

    private readonly record struct Stretch(int First, int Count, long Start, int Length);
}
