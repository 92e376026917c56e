using System.Numerics;
using System.Runtime.InteropServices;
using Vitro.Foundation;

namespace Vitro.WorkerProcess.Saving;

/// <summary>How a chunk's pages are stored.</summary>
internal enum ChunkCodec : uint
{
    /// <summary>As they are.</summary>
    Stored = 0,

    /// <summary>One LZ4 block.</summary>
    Lz4 = 1,
}

/// <summary>
/// A chunk of guest memory in the memory record, 32 bytes. Its pages that are not zero are stored one after the other; a
/// chunk that has none is left out.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct MemoryChunk
{
    /// <summary>Its place in memory, in chunks.</summary>
    internal uint Index;

    /// <summary>Bytes in the file.</summary>
    internal uint StoredLength;

    /// <summary>Byte in the file.</summary>
    internal long Offset;

    /// <summary>CRC-32C of the stored bytes.</summary>
    internal uint Checksum;

    internal ChunkCodec Codec;

    /// <summary>A bit for each page that is stored; the others are zero.</summary>
    internal ulong Pages;

    /// <summary>Bytes of its stored pages in memory.</summary>
    internal readonly int PageBytes => BitOperations.PopCount(Pages) * SavedMachineFormat.PageSize;

    /// <summary>What is said when <see cref="Holds"/> is false.</summary>
    internal readonly string Damage => $"Memory chunk {Index} is damaged: its checksum is wrong.";

    /// <summary>Whether these are the bytes that were stored.</summary>
    internal readonly bool Holds(ReadOnlySpan<byte> stored) => Crc32C.Compute(stored) == Checksum;

    /// <summary>Reads the table of chunks and checks every entry against memory and file.</summary>
    /// <exception cref="SavedStateException">An entry is out of place.</exception>
    internal static MemoryChunk[] ReadTable(ReadOnlySpan<byte> bytes, ulong memorySize, long fileLength)
    {
        if (bytes.Length % SavedMachineFormat.ChunkEntrySize != 0)
        {
            throw new SavedStateException("The table of memory chunks is damaged.");
        }

        var chunks = MemoryMarshal.Cast<byte, MemoryChunk>(bytes).ToArray();
        var next = 0L;
        foreach (ref var chunk in chunks.AsSpan())
        {
            var start = (ulong)chunk.Index * SavedMachineFormat.ChunkSize;
            var isInMemory = chunk.Index >= next && start < memorySize
                && (ulong)(64 - BitOperations.LeadingZeroCount(chunk.Pages)) * SavedMachineFormat.PageSize <= memorySize - start;
            var isInFile = chunk.Offset >= SavedMachineFormat.HeaderSize && chunk.StoredLength <= SavedMachineFormat.ChunkSize
                && chunk.Offset <= fileLength - chunk.StoredLength;
            var isStored = chunk.Pages != 0 && chunk.Codec switch
            {
                ChunkCodec.Stored => chunk.StoredLength == chunk.PageBytes,
                ChunkCodec.Lz4 => chunk.StoredLength > 0,
                _ => throw new SavedStateException($"A memory chunk is compressed in way {(uint)chunk.Codec}, which this build does not know. Use a later build."),
            };
            if (!isInMemory || !isInFile || !isStored)
            {
                throw new SavedStateException($"Memory chunk {chunk.Index} lies outside the memory or the file.");
            }

            next = chunk.Index + 1L;
        }

        return chunks;
    }
}
