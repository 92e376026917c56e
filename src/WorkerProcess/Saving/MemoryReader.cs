using System.Numerics;
using K4os.Compression.LZ4;
using Microsoft.Win32.SafeHandles;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using static Vitro.WorkerProcess.Saving.SavedMachineFormat;

namespace Vitro.WorkerProcess.Saving;

/// <summary>Fills a new machine's memory, which is zero, from a file: chunks on all processors of the host.</summary>
internal static class MemoryReader
{
    /// <exception cref="SavedStateException">The record or a chunk is damaged, or belongs to a machine with other memory.</exception>
    internal static void Read(SafeFileHandle file, SavedStateReader record, GuestMemory ram)
    {
        var size = record.UInt64(MemoryTag.Size);
        var chunkSize = record.UInt32(MemoryTag.ChunkSize);
        if (size != ram.Size || chunkSize != ChunkSize)
        {
            throw new SavedStateException($"The file holds {size} bytes of memory in chunks of {chunkSize}; the machine has {ram.Size} bytes.");
        }

        var chunks = MemoryChunk.ReadTable(record.Bytes(MemoryTag.Chunks), size, RandomAccess.GetLength(file));
        try
        {
            Parallel.For(
                0,
                chunks.Length,
                new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount },
                static () => new Scratch(),
                (index, _, scratch) =>
                {
                    ReadChunk(file, ram, in chunks[index], scratch);
                    return scratch;
                },
                static _ => { });
        }
        catch (AggregateException error) when (error.InnerExceptions.FirstOrDefault(inner => inner is SavedStateException or IOException) is { } first)
        {
            throw first is SavedStateException ? first : new SavedStateException(first.Message);
        }
    }

    private static void ReadChunk(SafeFileHandle file, GuestMemory ram, in MemoryChunk chunk, Scratch scratch)
    {
        var stored = scratch.Stored.AsSpan(0, (int)chunk.StoredLength);
        if (ReadFully(file, stored, chunk.Offset) != stored.Length || Crc32C.Compute(stored) != chunk.Checksum)
        {
            throw new SavedStateException($"Memory chunk {chunk.Index} is damaged: its checksum is wrong.");
        }

        ReadOnlySpan<byte> pages = stored;
        if (chunk.Codec == ChunkCodec.Lz4)
        {
            var unpacked = scratch.Pages.AsSpan(0, chunk.PageBytes);
            if (LZ4Codec.Decode(stored, unpacked) != unpacked.Length)
            {
                throw new SavedStateException($"Memory chunk {chunk.Index} is damaged: it does not unpack.");
            }

            pages = unpacked;
        }

        Scatter(ram, in chunk, pages);
    }

    private static void Scatter(GuestMemory ram, in MemoryChunk chunk, ReadOnlySpan<byte> pages)
    {
        var start = (ulong)chunk.Index * ChunkSize;
        for (var left = chunk.Pages; left != 0;)
        {
            // Pages that follow each other go together.
            var first = BitOperations.TrailingZeroCount(left);
            var run = BitOperations.TrailingZeroCount(~(left >> first));
            ram.File.Write(start + ((ulong)first * PageSize), pages[..(run * PageSize)]);
            pages = pages[(run * PageSize)..];
            left = first + run == PagesPerChunk ? 0 : left & (ulong.MaxValue << (first + run));
        }
    }

    internal static int ReadFully(SafeFileHandle file, Span<byte> bytes, long offset)
    {
        var done = 0;
        int count;
        while (done < bytes.Length && (count = RandomAccess.Read(file, bytes[done..], offset + done)) > 0)
        {
            done += count;
        }

        return done;
    }

    private sealed class Scratch
    {
        internal readonly byte[] Stored = new byte[ChunkSize];
        internal readonly byte[] Pages = new byte[ChunkSize];
    }
}
