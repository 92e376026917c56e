using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>An anonymous memory file (memfd) mapped once, readable and writable, into this process.</summary>
/// <remarks>The content is zero at first and takes host memory only where touched. Thread-safe but for <see cref="Dispose"/>.</remarks>
public sealed class MemoryFile : IDisposable
{
    private int _fd;

    private MemoryFile(int fd, nint address, ulong length)
    {
        _fd = fd;
        Address = address;
        Length = length;
    }

    /// <summary>Host address of the first byte; page aligned.</summary>
    public nint Address { get; private set; }

    /// <summary>Length in bytes.</summary>
    public ulong Length { get; }

    /// <summary>The file descriptor, for a second mapping or for handing to the kernel.</summary>
    public int FileDescriptor => _fd;

    /// <summary>Creates a zero-filled file.</summary>
    /// <param name="name">Shown in /proc/self/maps.</param>
    /// <param name="length">Bytes, a multiple of the page size.</param>
    /// <exception cref="PlatformException">The host refuses, for want of memory or address space.</exception>
    public static MemoryFile Create(string name, ulong length)
    {
        var fd = Libc.MemfdCreate(name, Libc.MfdCloexec);
        if (fd < 0)
        {
            throw PlatformException.Last("memfd_create");
        }

        if (Libc.Ftruncate(fd, checked((long)length)) != 0)
        {
            var error = PlatformException.Last("ftruncate");
            _ = Libc.Close(fd);
            throw error;
        }

        var address = Libc.Mmap(0, (nuint)length, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared | Libc.MapNoReserve, fd, 0);
        if (address == Libc.MapFailed)
        {
            var error = PlatformException.Last("mmap");
            _ = Libc.Close(fd);
            throw error;
        }

        // Best effort: transparent huge pages make the software engine's memory accesses cheaper.
        _ = Libc.Madvise(address, (nuint)length, Libc.MadvHugePage);
        return new MemoryFile(fd, address, length);
    }

    /// <summary>Copies from the file. Unlike a read through the mapping, this gives no host memory to what was never written.</summary>
    public void Read(ulong offset, Span<byte> bytes)
    {
        CheckRange(offset, (ulong)bytes.Length);
        while (!bytes.IsEmpty)
        {
            var count = Libc.Pread(_fd, ref MemoryMarshal.GetReference(bytes), (nuint)bytes.Length, (long)offset);
            if (count <= 0)
            {
                throw PlatformException.Last("pread");
            }

            bytes = bytes[(int)count..];
            offset += (ulong)count;
        }
    }

    /// <summary>
    /// Copies into the file. Where nothing was written yet, this is many times cheaper than a store through the mapping, which
    /// costs a page fault each.
    /// </summary>
    public void Write(ulong offset, ReadOnlySpan<byte> bytes)
    {
        CheckRange(offset, (ulong)bytes.Length);
        while (!bytes.IsEmpty)
        {
            var count = Libc.Pwrite(_fd, ref MemoryMarshal.GetReference(bytes), (nuint)bytes.Length, (long)offset);
            if (count <= 0)
            {
                throw PlatformException.Last("pwrite");
            }

            bytes = bytes[(int)count..];
            offset += (ulong)count;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_fd >= 0)
        {
            _ = Libc.Munmap(Address, (nuint)Length);
            _ = Libc.Close(_fd);
            _fd = -1;
            Address = 0;
        }
    }

    private void CheckRange(ulong offset, ulong length)
    {
        if (offset > Length || length > Length - offset)
        {
            throw new ArgumentOutOfRangeException(nameof(offset));
        }
    }
}
