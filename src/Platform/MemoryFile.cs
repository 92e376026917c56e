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

        return new MemoryFile(fd, address, length);
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
}
