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
/// The memory of a saved machine, all of it checked in its file, and unpacked into the new machine's RAM when a part is asked
/// for; a thread of its own unpacks the rest meanwhile.
/// </summary>
/// <remarks>
/// The guest goes on as soon as the file was read once. Its bytes are not held until they are unpacked, which would cost more
/// than reading them: the host's page cache has them. They are checked again then, so that a file somebody changes in this
/// time ends the machine rather than being taken for its memory. <see cref="Fill"/> is thread-safe.
/// </remarks>
internal sealed class SavedMemory : IRamSource
{
    private const int Absent = 0;
    private const int Filling = 1;
    private const int Present = 2;

    private readonly SharedFile _file;
    private readonly ulong _size;
    private readonly MemoryChunk[] _chunks;

    // By place in RAM: the chunk, or -1 where all is zero.
    private readonly int[] _chunkAt;
    private readonly int[] _states;
    private GuestMemory? _ram;
    private Action<string>? _onDamage;
    private MemoryCheck? _check;
    private Task? _filling;
    private string? _damage;
    private int _isDisposed;
    private volatile bool _stopping;

    private SavedMemory(SharedFile file, ulong size, MemoryChunk[] chunks)
    {
        _file = file;
        _size = size;
        _chunks = chunks;
        _states = new int[chunks.Length];
        _chunkAt = new int[(size + ChunkSize - 1) / ChunkSize];
        Array.Fill(_chunkAt, -1);
        for (var i = 0; i < chunks.Length; i++)
        {
            _chunkAt[chunks[i].Index] = i;
        }
    }

    /// <summary>Reads where the memory is in a file.</summary>
    /// <param name="file">The file; this object becomes one more owner.</param>
    /// <param name="record">The record of memory.</param>
    /// <param name="size">Bytes of RAM that the machine has.</param>
    /// <exception cref="SavedStateException">The record is damaged, or belongs to a machine with other memory.</exception>
    internal static SavedMemory Read(SharedFile file, SavedStateReader record, ulong size)
    {
        var savedSize = record.UInt64(MemoryTag.Size);
        var chunkSize = record.UInt32(MemoryTag.ChunkSize);
        if (savedSize != size || chunkSize != ChunkSize)
        {
            throw new SavedStateException($"The file holds {savedSize} bytes of memory in chunks of {chunkSize}; the machine has {size} bytes.");
        }

        return new SavedMemory(file.Share(), size, MemoryChunk.ReadTable(record.Bytes(MemoryTag.Chunks), size, RandomAccess.GetLength(file.Handle)));
    }

    /// <summary>Begins to check every chunk, while the caller does something else.</summary>
    internal void BeginCheck() => _check = MemoryCheck.Begin(_file.Handle, _chunks);

    /// <summary>Helps the check and waits for its end.</summary>
    /// <exception cref="SavedStateException">A chunk is damaged.</exception>
    internal void FinishCheck()
    {
        if (_check?.Finish() is { } damage)
        {
            throw new SavedStateException(damage);
        }
    }

    /// <summary>Puts everything into RAM, on all processors of the host, and checks it on the way: no other check is needed. Nothing else is to be called afterwards.</summary>
    /// <exception cref="SavedStateException">A chunk is damaged or does not unpack.</exception>
    internal void FillAll(GuestMemory ram)
    {
        _check?.GiveUp();
        _ram = ram;
        Parallel.For(0, _chunks.Length, FillChunk);
        Dispose();
        if (_damage is not null)
        {
            throw new SavedStateException(_damage);
        }
    }

    /// <summary>Has RAM, which owns this object from here on, ask here for what it lacks.</summary>
    /// <param name="ram">The RAM of a machine that has not been started.</param>
    /// <param name="onDamage">
    /// Called once, on any thread, when a chunk cannot be put into RAM: the guest must not go on.
    /// </param>
    internal void Attach(GuestMemory ram, Action<string> onDamage)
    {
        _ram = ram;
        _onDamage = onDamage;
        ram.SetSource(this);
    }

    /// <summary>Begins to put everything into RAM that nobody asks for.</summary>
    internal void FillInBackground() => _filling = Task.Run(FillRest);

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
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            _stopping = true;
            _check?.GiveUp();
            _filling?.Wait();
            _file.Dispose();
        }
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

        // Nobody reads the file any more: every chunk is there, so that whoever still asks has nothing to do.
        _ram!.Complete();
        if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
        {
            _file.Dispose();
        }
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
        catch (Exception error) when (error is PlatformException or IOException)
        {
            Report($"Memory chunk {_chunks[index].Index} could not be put into the machine's memory: {error.Message}");
        }
    }

    private void Unpack(int index)
    {
        ref readonly var chunk = ref _chunks[index];
        var storedBuffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        var stored = storedBuffer.AsSpan(0, (int)chunk.StoredLength);
        var pagesBuffer = ArrayPool<byte>.Shared.Rent(ChunkSize);
        var pages = pagesBuffer.AsSpan(0, chunk.PageBytes);
        if (FileReader.ReadFully(_file.Handle, stored, chunk.Offset) != stored.Length || !chunk.Holds(stored))
        {
            Report(chunk.Damage);
        }
        else if (chunk.Codec == ChunkCodec.Stored)
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
            _ram!.Host.Write(start + ((ulong)first * PageSize), pages[..(run * PageSize)]);
            pages = pages[(run * PageSize)..];
            left = first + run == PagesPerChunk ? 0 : left & (ulong.MaxValue << (first + run));
        }
    }
}
