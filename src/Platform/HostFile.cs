using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vitro.Platform;

/// <summary>How <see cref="HostFile.Open"/> opens.</summary>
public enum HostFileMode
{
    /// <summary>An existing file, for reading.</summary>
    Read,

    /// <summary>An existing file, for reading and writing.</summary>
    ReadWrite,

    /// <summary>A file that must not exist yet, for reading and writing.</summary>
    CreateNew,
}

/// <summary>A file or block device of the host with positioned, vectored I/O, space control and locks that hold over NFS.</summary>
/// <remarks>
/// Thread-safe; no call allocates managed memory. Every failure is a <see cref="PlatformException"/> that names the file and the
/// operation. Locks are open file description locks (fcntl(2), F_OFD_SETLK): they end with the handle, not with the process's
/// first close, and two handles of one process exclude each other.
/// </remarks>
public sealed unsafe class HostFile : IDisposable
{
    private const int VectorsPerCall = 16;

    private readonly SafeFileHandle _handle;
    private volatile bool _cachedReadsWork = true;
    private bool _locked;

    private HostFile(string path, SafeFileHandle handle)
    {
        Path = path;
        _handle = handle;
    }

    /// <summary>The path it was opened by.</summary>
    public string Path { get; }

    internal SafeFileHandle Handle => _handle;

    /// <summary>Bytes in the file now; also right for block devices.</summary>
    public long Length => Check(Libc.Lseek(_handle, 0, Libc.SeekEnd), "find the length");

    /// <summary>Bytes of storage the file takes or has reserved (statx(2), in blocks of 512 bytes).</summary>
    public long AllocatedLength
    {
        get
        {
            var result = stackalloc byte[Libc.StatxSize];
            Check(Libc.Statx(_handle, "", Libc.AtEmptyPath, Libc.StatxBlocks, result), "find the space of");
            return *(long*)(result + Libc.StatxBlocksOffset) * Libc.StatxBlockSize;
        }
    }

    /// <summary>Opens or creates a file.</summary>
    /// <exception cref="PlatformException">The host refuses.</exception>
    public static HostFile Open(string path, HostFileMode mode)
    {
        var flags = Libc.OpenCloexec | mode switch
        {
            HostFileMode.Read => Libc.OpenReadOnly,
            HostFileMode.ReadWrite => Libc.OpenReadWrite,
            _ => Libc.OpenReadWrite | Libc.OpenCreate | Libc.OpenExclusive,
        };
        var fd = Libc.Open(path, flags, 0x1A4); // 0644
        return fd < 0 ? throw PlatformException.Last(path + ": open") : new HostFile(path, new SafeFileHandle(fd, ownsHandle: true));
    }

    /// <summary>Makes a name created in, renamed in or deleted from a directory durable.</summary>
    public static void SyncDirectory(string path)
    {
        var fd = Libc.Open(path, Libc.OpenReadOnly | Libc.OpenDirectory | Libc.OpenCloexec, 0);
        if (fd < 0)
        {
            throw PlatformException.Last(path + ": open");
        }

        using var handle = new SafeFileHandle(fd, ownsHandle: true);

        // Some network file systems refuse to sync a directory and need no sync.
        if (Libc.Fsync(handle) != 0 && Marshal.GetLastPInvokeError() != Libc.ErrorInvalid)
        {
            throw PlatformException.Last(path + ": sync");
        }
    }

    /// <summary>Takes the whole file's lock, shared or exclusive, or changes the one held; does not wait.</summary>
    /// <returns>False when another handle holds one in the way.</returns>
    public bool TryLock(bool exclusive)
    {
        var request = new Libc.FileLock { Type = exclusive ? Libc.LockWrite : Libc.LockRead };
        if (Libc.Fcntl(_handle, Libc.OfdSetLock, ref request) == 0)
        {
            _locked = true;
            return true;
        }

        var error = Marshal.GetLastPInvokeError();
        return error is Libc.ErrorAgain or Libc.ErrorAccess ? false : throw new PlatformException(Path + ": lock", error);
    }

    /// <summary>Reads until the buffer is full or the file ends.</summary>
    /// <returns>Bytes read.</returns>
    public int Read(long offset, Span<byte> buffer)
    {
        var done = 0;
        fixed (byte* start = buffer)
        {
            while (done < buffer.Length)
            {
                var vector = new Libc.IoVector { Base = (nint)(start + done), Length = (nuint)(buffer.Length - done) };
                var got = Libc.Preadv2(_handle, &vector, 1, offset + done, 0);
                if (got < 0)
                {
                    ThrowUnlessInterrupted("read", offset + done, buffer.Length - done);
                    continue;
                }

                if (got == 0)
                {
                    break;
                }

                done += (int)got;
            }
        }

        return done;
    }

    /// <summary>Reads a part of a list of buffers until it is full or the file ends.</summary>
    /// <param name="offset">Byte in the file.</param>
    /// <param name="buffers">The list.</param>
    /// <param name="skip">Bytes of the list to leave out at its start.</param>
    /// <param name="length">Bytes to read.</param>
    /// <param name="cachedOnly">Give up rather than wait for the storage.</param>
    /// <returns>Bytes read, or -1 when it gave up (the buffers' content is then undefined).</returns>
    public int Read(long offset, ReadOnlySpan<Memory<byte>> buffers, long skip, int length, bool cachedOnly)
    {
        if (cachedOnly && !_cachedReadsWork)
        {
            return -1;
        }

        var done = 0;
        while (done < length)
        {
            var got = Transfer(offset + done, buffers, skip + done, length - done, write: false, cachedOnly ? Libc.RwfNowait : 0);
            if (got < 0)
            {
                var error = Marshal.GetLastPInvokeError();
                if (cachedOnly && error is Libc.ErrorAgain or Libc.ErrorNotSupported)
                {
                    _cachedReadsWork &= error == Libc.ErrorAgain;
                    return -1;
                }

                ThrowUnlessInterrupted("read", offset + done, length - done, error);
                continue;
            }

            if (got == 0)
            {
                break;
            }

            done += (int)got;
        }

        return done;
    }

    /// <summary>Writes the whole buffer.</summary>
    public void Write(long offset, ReadOnlySpan<byte> buffer)
    {
        var done = 0;
        fixed (byte* start = buffer)
        {
            while (done < buffer.Length)
            {
                var vector = new Libc.IoVector { Base = (nint)(start + done), Length = (nuint)(buffer.Length - done) };
                var got = Libc.Pwritev2(_handle, &vector, 1, offset + done, 0);
                if (got < 0)
                {
                    ThrowUnlessInterrupted("write", offset + done, buffer.Length - done);
                    continue;
                }

                done += (int)got;
            }
        }
    }

    /// <summary>Writes a part of a list of buffers; durable on return when <paramref name="durable"/>.</summary>
    public void Write(long offset, ReadOnlySpan<Memory<byte>> buffers, long skip, int length, bool durable)
    {
        var done = 0;
        while (done < length)
        {
            var got = Transfer(offset + done, buffers, skip + done, length - done, write: true, durable ? Libc.RwfDsync : 0);
            if (got < 0)
            {
                ThrowUnlessInterrupted("write", offset + done, length - done);
                continue;
            }

            done += (int)got;
        }
    }

    /// <summary>Makes all completed writes durable, with what is needed to find them again (fdatasync).</summary>
    public void Sync() => Check(Libc.Fdatasync(_handle), "sync");

    /// <summary>Cuts or extends the file; the new part reads as zero and takes no space.</summary>
    public void SetLength(long length) => Check(Libc.Ftruncate(_handle, length), "set the length of");

    /// <summary>Makes a range read as zero and gives its space back; the length stays.</summary>
    /// <returns>False when this file system cannot; nothing has changed then.</returns>
    public bool TryPunchHole(long offset, long length) =>
        TryAllocate(Libc.FallocPunchHole | Libc.FallocKeepSize, offset, length, "punch a hole in");

    /// <summary>Makes a range read as zero and keeps, or takes, space for it; the length stays.</summary>
    /// <returns>False when this file system cannot; nothing has changed then.</returns>
    public bool TryZeroRange(long offset, long length) =>
        TryAllocate(Libc.FallocZeroRange | Libc.FallocKeepSize, offset, length, "zero a range of");

    /// <summary>Reserves space for a range, extending the file if need be; what was there stays.</summary>
    /// <returns>False when this file system cannot; nothing has changed then.</returns>
    public bool TryReserve(long offset, long length) => TryAllocate(0, offset, length, "reserve space in");

    /// <summary>The first byte at or after <paramref name="offset"/> that may hold data, or the file's length.</summary>
    public long NextData(long offset)
    {
        var found = Libc.Lseek(_handle, offset, Libc.SeekData);
        return found >= 0 ? found : Marshal.GetLastPInvokeError() switch
        {
            Libc.ErrorNoSuchAddress => Math.Max(offset, Length),
            _ => offset, // no sparse files here: all is data
        };
    }

    /// <summary>The first byte at or after <paramref name="offset"/> that is in a hole, or the file's length.</summary>
    public long NextHole(long offset)
    {
        var found = Libc.Lseek(_handle, offset, Libc.SeekHole);
        return found >= 0 ? found : Math.Max(offset, Length);
    }

    /// <summary>Gives the lock back and closes.</summary>
    public void Dispose()
    {
        // A process that is just being started shares the handle until it becomes another program; the lock must not last so long.
        if (_locked && !_handle.IsClosed)
        {
            _locked = false;
            var request = new Libc.FileLock { Type = Libc.LockNone };
            _ = Libc.Fcntl(_handle, Libc.OfdSetLock, ref request);
        }

        _handle.Dispose();
    }

    private bool TryAllocate(int mode, long offset, long length, string operation)
    {
        while (Libc.Fallocate(_handle, mode, offset, length) != 0)
        {
            var error = Marshal.GetLastPInvokeError();
            if (error == Libc.ErrorNotSupported)
            {
                return false;
            }

            ThrowUnlessInterrupted(operation, offset, length, error);
        }

        return true;
    }

    private nint Transfer(long offset, ReadOnlySpan<Memory<byte>> buffers, long skip, int length, bool write, int flags)
    {
        var index = 0;
        while (index < buffers.Length && skip >= buffers[index].Length)
        {
            skip -= buffers[index++].Length;
        }

        Handles handles = default;
        var vectors = stackalloc Libc.IoVector[VectorsPerCall];
        var count = 0;
        try
        {
            for (; count < VectorsPerCall && length > 0; index++)
            {
                var part = buffers[index];
                var take = (int)Math.Min(part.Length - skip, length);
                if (take > 0)
                {
                    handles[count] = part.Pin();
                    vectors[count].Base = (nint)((byte*)handles[count].Pointer + skip);
                    vectors[count].Length = (nuint)take;
                    count++;
                }

                length -= take;
                skip = 0;
            }

            return write
                ? Libc.Pwritev2(_handle, vectors, count, offset, flags)
                : Libc.Preadv2(_handle, vectors, count, offset, flags);
        }
        finally
        {
            for (var i = 0; i < count; i++)
            {
                handles[i].Dispose();
            }
        }
    }

    private long Check(long result, string operation) =>
        result >= 0 ? result : throw new PlatformException($"{Path}: {operation}", Marshal.GetLastPInvokeError());

    private void ThrowUnlessInterrupted(string operation, long offset, long length) =>
        ThrowUnlessInterrupted(operation, offset, length, Marshal.GetLastPInvokeError());

    private void ThrowUnlessInterrupted(string operation, long offset, long length, int error)
    {
        if (error != Libc.ErrorInterrupted)
        {
            throw new PlatformException($"{Path}: {operation} {length} bytes at offset {offset}", error);
        }
    }

    [InlineArray(VectorsPerCall)]
    private struct Handles
    {
        private MemoryHandle _first;
    }
}
