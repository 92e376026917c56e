namespace Vitro.Platform;

/// <summary>A file mapped into this process, readable, writable and shared with whoever else has it: what a driver shows of itself, as a rule.</summary>
public sealed class FileMapping : IDisposable
{
    private readonly nuint _length;

    private FileMapping(nint address, nuint length)
    {
        Address = address;
        _length = length;
    }

    /// <summary>Host address of the first byte, page aligned; 0 when disposed.</summary>
    public nint Address { get; private set; }

    /// <summary>Maps a file.</summary>
    /// <param name="descriptor">The file; it may be closed afterwards.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="what">What is mapped, for the error.</param>
    /// <param name="offset">Where in the file, in bytes; a multiple of the page size.</param>
    /// <exception cref="PlatformException">The host refuses.</exception>
    public static FileMapping Create(int descriptor, nuint length, string what, long offset = 0)
    {
        var address = Libc.Mmap(0, length, Libc.ProtRead | Libc.ProtWrite, Libc.MapShared, descriptor, offset);
        return address == Libc.MapFailed ? throw PlatformException.Last(what) : new FileMapping(address, length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Address != 0)
        {
            _ = Libc.Munmap(Address, _length);
            Address = 0;
        }
    }
}
