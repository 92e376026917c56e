using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vitro.Platform;

/// <summary>An io_uring (io_uring(7)) for vectored reads: many in flight, submitted and completed in batches.</summary>
/// <remarks>
/// One thread at a time uses it, but for <see cref="Wake"/>; reads in flight end unfinished when the thread that began them ends. Buffers and files of a read are held until its completion has
/// been reaped. No call allocates managed memory.
/// </remarks>
public sealed unsafe class IoRing : IDisposable
{
    /// <summary>Buffers of one read.</summary>
    public const int VectorsPerRead = 16;

    private const ulong WakeUp = ulong.MaxValue;

    private readonly SafeFileHandle _ring;
    private readonly SafeFileHandle _event;
    private readonly byte* _rings;
    private readonly nuint _ringsLength;
    private readonly Libc.RingSubmission* _submissions;
    private readonly nuint _submissionsLength;
    private readonly uint* _submissionTail;
    private readonly uint _submissionMask;
    private readonly uint* _submissionArray;
    private readonly uint* _completionHead;
    private readonly uint* _completionTail;
    private readonly uint _completionMask;
    private readonly Libc.RingCompletion* _completions;
    private readonly Libc.IoVector* _vectors;
    private readonly ulong* _wakeValue;
    private readonly MemoryHandle[] _pins;
    private readonly SafeFileHandle?[] _files;
    private uint _tail;
    private uint _unsubmitted;
    private bool _disposed;

    private IoRing(SafeFileHandle ring, SafeFileHandle wake, int slots, in Libc.RingParameters parameters, byte* rings, nuint ringsLength, nint submissions)
    {
        _ring = ring;
        _event = wake;
        _rings = rings;
        _ringsLength = ringsLength;
        _submissions = (Libc.RingSubmission*)submissions;
        _submissionsLength = parameters.SubmissionEntries * (nuint)sizeof(Libc.RingSubmission);
        _submissionTail = (uint*)(rings + parameters.SubmissionTail);
        _submissionMask = *(uint*)(rings + parameters.SubmissionMask);
        _submissionArray = (uint*)(rings + parameters.SubmissionArray);
        _completionHead = (uint*)(rings + parameters.CompletionHead);
        _completionTail = (uint*)(rings + parameters.CompletionTail);
        _completionMask = *(uint*)(rings + parameters.CompletionMask);
        _completions = (Libc.RingCompletion*)(rings + parameters.CompletionEntriesOffset);
        _vectors = (Libc.IoVector*)NativeMemory.AllocZeroed((nuint)slots * VectorsPerRead, (nuint)sizeof(Libc.IoVector));
        _wakeValue = (ulong*)NativeMemory.AllocZeroed(sizeof(ulong));
        _pins = new MemoryHandle[slots * VectorsPerRead];
        _files = new SafeFileHandle?[slots];
        _tail = *_submissionTail;
        AwaitWakeUp();
    }

    /// <summary>Reads that can be in flight.</summary>
    public int Slots => _files.Length;

    /// <summary>Makes a ring, or null where the host has none, forbids it or has one that lacks what this needs.</summary>
    public static IoRing? TryCreate(int slots)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(slots);
        var parameters = default(Libc.RingParameters);

        // Completions wait until the thread enters the kernel anyway; kernels before 5.19 interrupt it for each.
        var ring = Setup(slots, Libc.RingSetupClamp | Libc.RingSetupCoopTaskRun, ref parameters);
        if (ring.IsInvalid)
        {
            ring.Dispose();
            ring = Setup(slots, Libc.RingSetupClamp, ref parameters);
        }

        const uint needed = Libc.RingFeatureSingleMmap | Libc.RingFeatureNoDrop;
        var wake = new SafeFileHandle(Libc.Eventfd(0, Libc.EventCloexec), ownsHandle: true);
        if (ring.IsInvalid || wake.IsInvalid || (parameters.Features & needed) != needed || parameters.SubmissionEntries <= slots)
        {
            ring.Dispose();
            wake.Dispose();
            return null;
        }

        var length = (nuint)Math.Max(
            parameters.SubmissionArray + (parameters.SubmissionEntries * sizeof(uint)),
            parameters.CompletionEntriesOffset + (parameters.CompletionEntries * (uint)sizeof(Libc.RingCompletion)));
        var rings = Map(ring, length, Libc.RingOffsetSubmissionRing);
        var submissions = Map(ring, parameters.SubmissionEntries * (nuint)sizeof(Libc.RingSubmission), Libc.RingOffsetEntries);
        if (rings != Libc.MapFailed && submissions != Libc.MapFailed)
        {
            return new IoRing(ring, wake, slots, parameters, (byte*)rings, length, submissions);
        }

        if (rings != Libc.MapFailed)
        {
            _ = Libc.Munmap(rings, length);
        }

        ring.Dispose();
        wake.Dispose();
        return null;
    }

    /// <summary>Prepares a read, which begins with the next <see cref="Enter"/>.</summary>
    /// <param name="slot">Names the read; free since its last completion.</param>
    /// <param name="file">The file.</param>
    /// <param name="offset">Byte in the file.</param>
    /// <param name="buffers">The list of buffers.</param>
    /// <param name="skip">Bytes of the list to leave out at its start.</param>
    /// <param name="length">Bytes to read.</param>
    /// <returns>False, and nothing prepared, when the bytes are in more than <see cref="VectorsPerRead"/> buffers.</returns>
    public bool TryPrepareRead(int slot, HostFile file, long offset, ReadOnlySpan<Memory<byte>> buffers, long skip, int length)
    {
        ArgumentNullException.ThrowIfNull(file);
        var vectors = _vectors + (slot * VectorsPerRead);
        var pins = _pins.AsSpan(slot * VectorsPerRead, VectorsPerRead);
        var count = 0;
        foreach (var buffer in buffers)
        {
            if (skip >= buffer.Length)
            {
                skip -= buffer.Length;
                continue;
            }

            if (length == 0)
            {
                break;
            }

            if (count == VectorsPerRead)
            {
                Release(slot);
                return false;
            }

            var take = (int)Math.Min(buffer.Length - skip, length);
            pins[count] = buffer.Pin();
            vectors[count].Base = (nint)((byte*)pins[count].Pointer + skip);
            vectors[count].Length = (nuint)take;
            count++;
            length -= take;
            skip = 0;
        }

        var handle = file.Handle;
        var held = false;
        try
        {
            handle.DangerousAddRef(ref held);
        }
        catch (ObjectDisposedException)
        {
            Release(slot);
            return false;
        }

        _files[slot] = handle;
        Push(Libc.RingOpReadv, (int)handle.DangerousGetHandle(), offset, (nint)vectors, (uint)count, (ulong)slot);
        return true;
    }

    /// <summary>Begins what was prepared; waits for a completion or a <see cref="Wake"/> when asked to.</summary>
    /// <exception cref="PlatformException">The ring fails.</exception>
    public void Enter(bool wait)
    {
        var begun = Libc.RingEnter((int)_ring.DangerousGetHandle(), _unsubmitted, wait ? 1u : 0, Libc.RingEnterGetEvents);
        if (begun >= 0)
        {
            _unsubmitted -= (uint)begun;
            return;
        }

        if (Marshal.GetLastPInvokeError() is not (Libc.ErrorInterrupted or Libc.ErrorAgain or Libc.ErrorBusy))
        {
            throw PlatformException.Last("io_uring_enter");
        }
    }

    /// <summary>Takes a completed read; false when there is none.</summary>
    /// <param name="slot">The read, whose slot is free again.</param>
    /// <param name="result">Bytes read, which may be fewer than asked for, or the negative error number.</param>
    public bool TryReap(out int slot, out int result)
    {
        while (true)
        {
            var head = *_completionHead;
            if (head == Volatile.Read(ref *_completionTail))
            {
                slot = result = 0;
                return false;
            }

            var completion = _completions[head & _completionMask];
            Volatile.Write(ref *_completionHead, head + 1);
            if (completion.UserData == WakeUp)
            {
                AwaitWakeUp();
                continue;
            }

            slot = (int)completion.UserData;
            result = completion.Result;
            _files[slot]!.DangerousRelease();
            _files[slot] = null;
            Release(slot);
            return true;
        }
    }

    /// <summary>Ends the wait of the ring's thread, or the next one it begins; for any thread.</summary>
    public void Wake() => _ = Libc.Write(_event, 1, sizeof(ulong));

    /// <summary>Closes the ring; no read may be in flight.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _ring.Dispose();
        _event.Dispose();
        _ = Libc.Munmap((nint)_rings, _ringsLength);
        _ = Libc.Munmap((nint)_submissions, _submissionsLength);
        NativeMemory.Free(_vectors);
        NativeMemory.Free(_wakeValue);
    }

    private static SafeFileHandle Setup(int slots, uint flags, ref Libc.RingParameters parameters)
    {
        parameters = new Libc.RingParameters { Flags = flags };
        fixed (Libc.RingParameters* pointer = &parameters)
        {
            return Libc.RingSetup((uint)slots + 1, pointer); // one more, for the wake-up
        }
    }

    private static nint Map(SafeFileHandle ring, nuint length, long offset) => Libc.Mmap(
        0, length, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared | Libc.MapPopulate, (int)ring.DangerousGetHandle(), offset);

    private void AwaitWakeUp() =>
        Push(Libc.RingOpRead, (int)_event.DangerousGetHandle(), 0, (nint)_wakeValue, sizeof(ulong), WakeUp);

    // Never full: it has an entry for each slot and the wake-up, and the kernel takes all with each call.
    private void Push(byte operation, int file, long offset, nint address, uint length, ulong userData)
    {
        var index = _tail & _submissionMask;
        Unsafe.InitBlock(_submissions + index, 0, (uint)sizeof(Libc.RingSubmission));
        _submissions[index].Operation = operation;
        _submissions[index].File = file;
        _submissions[index].Offset = offset;
        _submissions[index].Address = address;
        _submissions[index].Length = length;
        _submissions[index].UserData = userData;
        _submissionArray[index] = index;
        Volatile.Write(ref *_submissionTail, ++_tail);
        _unsubmitted++;
    }

    private void Release(int slot)
    {
        foreach (ref var pin in _pins.AsSpan(slot * VectorsPerRead, VectorsPerRead))
        {
            pin.Dispose();
            pin = default;
        }
    }
}
