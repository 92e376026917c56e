using System.Buffers;
using System.Numerics;
using K4os.Compression.LZ4;
using Microsoft.Win32.SafeHandles;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;
using static Vitro.WorkerProcess.Saving.SavedMachineFormat;

namespace Vitro.WorkerProcess.Saving;

/// <summary>
/// The memory of a saved machine, read from its file and checked, and unpacked into the new machine's RAM when a part is
/// asked for; a thread of its own unpacks the rest meanwhile.
/// </summary>
/// <remarks>
/// The guest goes on as soon as the file is read. Nothing that happens to the file afterwards matters: its bytes are held until
/// they are unpacked, in a memory file, for reads and writes of one cost far less than page faults in a mapping. <see cref="Fill"/> is thread-safe.
/// </remarks>
internal sealed class SavedMemory : IRamSource
{
    private const int Absent = 0;
    private const int Filling = 1;
    private const int Present = 2;

    private readonly GuestMemory _ram;
    private readonly MemoryChunk[] _chunks;
    private readonly MemoryFile? _stored;
    private readonly ulong[] _storedOffsets;

    // By place in RAM: the chunk, or -1 where all is zero.
    private readonly int[] _chunkAt;
    private readonly int[] _states;
    private Action<string>? _onDamage;
    private Thread? _thread;
    private string? _damage;
    private volatile bool _stopping;

    private SavedMemory(GuestMemory ram, MemoryChunk[] chunks)
    {
        _ram = ram;
        _chunks = chunks;
        _states = new int[chunks.Length];
        _storedOffsets = new ulong[chunks.Length];
        _chunkAt = new int[(ram.Size + ChunkSize - 1) / ChunkSize];
        Array.Fill(_chunkAt, -1);
        var length = 0UL;
        for (var i = 0; i < chunks.Length; i++)
        {
            _chunkAt[chunks[i].Index] = i;
            _storedOffsets[i] = length;
            length += chunks[i].StoredLength;
        }

        _stored = length == 0 ? null : MemoryFile.Create("vitro-saved-memory", (length + PageSize - 1) & ~(ulong)(PageSize - 1));
    }

    /// <summary>Reads the memory of a file and checks it.</summary>
    /// <exception cref="SavedStateException">The record or a chunk is damaged, or belongs to a machine with other memory.</exception>
    internal static SavedMemory Read(SafeFileHandle file, SavedStateReader record, GuestMemory ram)
    {
        var size = record.UInt64(MemoryTag.Size);
        var chunkSize = record.UInt32(MemoryTag.ChunkSize);
        if (size != ram.Size || chunkSize != ChunkSize)
        {
            throw new SavedStateException($"The file holds {size} bytes of memory in chunks of {chunkSize}; the machine has {ram.Size} bytes.");
        }

        var chunks = MemoryChunk.ReadTable(record.Bytes(MemoryTag.Chunks), size, RandomAccess.GetLength(file));
        var memory = new SavedMemory(ram, chunks);
        try
        {
            Parallel.For(0, chunks.Length, index => memory.ReadChunk(file, index));
            return memory;
        }
        catch (AggregateException error) when (error.InnerExceptions.FirstOrDefault(inner => inner is SavedStateException or IOException) is { } first)
        {
            memory.Dispose();
            throw first is SavedStateException ? first : new SavedStateException(first.Message);
        }
    }

    /// <summary>Puts everything into RAM, on all processors of the host.</summary>
    /// <exception cref="SavedStateException">A chunk does not unpack.</exception>
    internal void FillAll()
    {
        Parallel.For(0, _chunks.Length, FillChunk);
        Dispose();
        if (_damage is not null)
        {
            throw new SavedStateException(_damage);
        }
    }

    /// <summary>Lets the machine run: RAM asks here for what it lacks, and the rest follows by itself.</summary>
    /// <param name="onDamage">Called once, on any thread, when a chunk cannot be put into RAM: the guest must not go on.</param>
    internal void Attach(Action<string> onDamage)
    {
        _onDamage = onDamage;
        _ram.SetSource(this);
        _thread = new Thread(FillRest) { IsBackground = true, Name = "saved-memory" };
        _thread.Start();
    }

    /// <inheritdoc/>
    public void Fill(ulong offset, ulong length)
    {
        var last = (offset + Math.Max(length, 1) - 1) / ChunkSize;
        for (var place = offset / ChunkSize; place <= last; place++)
        {
            var chunk = _chunkAt[place];
            if (chunk >= 0 && Volatile.Read(ref _states[chunk]) != Present)
            {
                FillChunk(chunk);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        if (_thread is { } thread && thread != Thread.CurrentThread)
        {
            thread.Join();
        }

        _stored?.Dispose();
    }

    private void FillRest()
    {
        for (var chunk = 0; chunk < _chunks.Length; chunk++)
        {
            if (_stopping)
            {
                return;
            }

            FillChunk(chunk);
        }

        // Nobody looks at the stored bytes any more: every chunk is there, so that whoever still asks has nothing to do.
        _ram.Complete();
        _stored?.Dispose();
    }

    private void ReadChunk(SafeFileHandle file, int index)
    {
        ref readonly var chunk = ref _chunks[index];
        var buffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        var stored = buffer.AsSpan(0, (int)chunk.StoredLength);
        if (FileReader.ReadFully(file, stored, chunk.Offset) != stored.Length || Crc32C.Compute(stored) != chunk.Checksum)
        {
            throw new SavedStateException($"Memory chunk {chunk.Index} is damaged: its checksum is wrong.");
        }

        _stored!.Write(_storedOffsets[index], stored);
        ArrayPool<byte>.Shared.Return(buffer);
    }

    private void FillChunk(int index)
    {
        ref var state = ref _states[index];
        if (Interlocked.CompareExchange(ref state, Filling, Absent) == Absent)
        {
            TryUnpack(index);
            Volatile.Write(ref state, Present);
            return;
        }

        // Another thread is at it, which takes a fraction of a millisecond.
        var wait = default(SpinWait);
        while (Volatile.Read(ref state) != Present)
        {
            wait.SpinOnce(sleep1Threshold: -1);
        }
    }

    // Whatever happens, the chunk counts as there afterwards: others wait for it.
    private void TryUnpack(int index)
    {
        try
        {
            Unpack(index);
        }
        catch (PlatformException error)
        {
            Report($"Memory chunk {_chunks[index].Index} could not be put into the machine's memory: {error.Message}");
        }
    }

    private void Unpack(int index)
    {
        ref readonly var chunk = ref _chunks[index];
        var storedBuffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        var stored = storedBuffer.AsSpan(0, (int)chunk.StoredLength);
        _stored!.Read(_storedOffsets[index], stored);
        var pagesBuffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        var pages = pagesBuffer.AsSpan(0, chunk.PageBytes);
        if (chunk.Codec == ChunkCodec.Stored)
        {
            Scatter(in chunk, stored);
        }
        else if (LZ4Codec.Decode(stored, pages) == pages.Length)
        {
            Scatter(in chunk, pages);
        }
        else
        {
            // Only a file made to be so: the checksum of the packed bytes was right.
            Report($"Memory chunk {chunk.Index} is damaged: it does not unpack.");
        }

        ArrayPool<byte>.Shared.Return(pagesBuffer);
        ArrayPool<byte>.Shared.Return(storedBuffer);
    }

    private void Report(string damage)
    {
        if (Interlocked.CompareExchange(ref _damage, damage, null) is null)
        {
            _onDamage?.Invoke(damage);
        }
    }

    private void Scatter(in MemoryChunk chunk, ReadOnlySpan<byte> pages)
    {
        var start = (ulong)chunk.Index * ChunkSize;
        for (var left = chunk.Pages; left != 0;)
        {
            // Pages that follow each other go together.
            var first = BitOperations.TrailingZeroCount(left);
            var run = BitOperations.TrailingZeroCount(~(left >> first));
            _ram.Host.Write(start + ((ulong)first * PageSize), pages[..(run * PageSize)]);
            pages = pages[(run * PageSize)..];
            left = first + run == PagesPerChunk ? 0 : left & (ulong.MaxValue << (first + run));
        }
    }
}
