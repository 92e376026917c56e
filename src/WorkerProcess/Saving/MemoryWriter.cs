using System.Runtime.InteropServices;
using K4os.Compression.LZ4;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using static Vitro.WorkerProcess.Saving.SavedMachineFormat;

namespace Vitro.WorkerProcess.Saving;

/// <summary>Writes a stopped machine's memory: chunks on all processors of the host, zero pages left out, untouched ones not looked at.</summary>
internal static class MemoryWriter
{
    // A chunk that does not shrink by at least this part is quicker to read as it is.
    private const int LeastGain = 16;

    internal static void Write(SavedMachineWriter file, GuestMemory ram)
    {
        ram.EnsurePresent(0, ram.Size);
        var entries = new List<MemoryChunk>();
        var chunks = (int)((ram.Size + ChunkSize - 1) / ChunkSize);
        Parallel.For(
            0,
            chunks,
            new ParallelOptions { MaxDegreeOfParallelism = Environment.ProcessorCount },
            static () => new Scratch(),
            (index, _, scratch) =>
            {
                if (TryWriteChunk(file, ram, (uint)index, scratch, out var entry))
                {
                    lock (entries)
                    {
                        entries.Add(entry);
                    }
                }

                return scratch;
            },
            static _ => { });
        entries.Sort(static (a, b) => a.Index.CompareTo(b.Index));
        file.AddRecord(Record.Memory, 1, isRequired: true, writer =>
        {
            writer.UInt64(MemoryTag.Size, ram.Size);
            writer.UInt32(MemoryTag.ChunkSize, ChunkSize);
            writer.Bytes(MemoryTag.Chunks, MemoryMarshal.AsBytes(CollectionsMarshal.AsSpan(entries)));
        });
    }

    private static bool TryWriteChunk(SavedMachineWriter file, GuestMemory ram, uint index, Scratch scratch, out MemoryChunk entry)
    {
        entry = new MemoryChunk { Index = index };
        var start = (ulong)index * ChunkSize;
        var length = (int)Math.Min(ChunkSize, ram.Size - start);

        if (!ram.Host.IsTouched(start, (ulong)length))
        {
            return false;
        }

        // The pages that are not zero move together.
        var memory = scratch.Pages.AsSpan(0, length);
        ram.Host.Read(start, memory);
        var used = 0;
        for (var page = 0; page < length / PageSize; page++)
        {
            var source = memory.Slice(page * PageSize, PageSize);
            if (source.IndexOfAnyExcept((byte)0) >= 0)
            {
                if (used != page * PageSize)
                {
                    source.CopyTo(memory[used..]);
                }

                entry.Pages |= 1UL << page;
                used += PageSize;
            }
        }

        if (used == 0)
        {
            return false;
        }

        var pages = memory[..used];
        var packed = LZ4Codec.Encode(pages, scratch.Packed.AsSpan(0, used - (used / LeastGain)));
        entry.Codec = packed > 0 ? ChunkCodec.Lz4 : ChunkCodec.Stored;
        ReadOnlySpan<byte> stored = packed > 0 ? scratch.Packed.AsSpan(0, packed) : pages;
        entry.StoredLength = (uint)stored.Length;
        entry.Checksum = Crc32C.Compute(stored);
        entry.Offset = file.Append(stored);
        return true;
    }

    private sealed class Scratch
    {
        internal readonly byte[] Pages = new byte[ChunkSize];
        internal readonly byte[] Packed = new byte[ChunkSize];
    }
}
