using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>
/// Memory for machine code made at run time: one memory file mapped twice, once writable and once executable, so that no
/// mapping is ever both.
/// </summary>
/// <remarks>
/// x86-64 hosts only. A byte written at offset n of <see cref="Writable"/> is visible at offset n of
/// <see cref="Executable"/> at once (x86 keeps instruction fetches coherent with stores of any alias). The holder orders
/// writers; running what is complete needs no lock.
/// </remarks>
public sealed unsafe class ExecutableMemory : IDisposable
{
    private const int LargePage = 2 << 20;
    private const nuint Page = 4096;
    private readonly Backing[] _backing;
    private nint _writable;
    private nint _executable;

    private ExecutableMemory(nint writable, nint executable, ulong length)
    {
        _writable = writable;
        _executable = executable;
        Length = length;
        _backing = new Backing[(length + LargePage - 1) / LargePage];
    }

    // How a large page's worth of it is backed.
    private enum Backing : byte
    {
        Unknown,
        Large,
        Small,
    }

    /// <summary>Host address of the read-write view; page aligned.</summary>
    public byte* Writable => (byte*)_writable;

    /// <summary>Host address of the read-execute view; page aligned.</summary>
    public byte* Executable => (byte*)_executable;

    /// <summary>Length in bytes of each view.</summary>
    public ulong Length { get; }

    /// <summary>Maps zero-filled code memory; the host backs it only where touched.</summary>
    /// <param name="name">Shown in /proc/self/maps.</param>
    /// <param name="length">Bytes, a multiple of the page size, at most 1 GiB: relative addresses reach both views from either.</param>
    /// <exception cref="PlatformNotSupportedException">The host is not x86-64.</exception>
    /// <exception cref="PlatformException">The host refuses: no memory, or a security policy forbids executable memory.</exception>
    public static ExecutableMemory Create(string name, ulong length)
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            throw new PlatformNotSupportedException("The software engine emits x86-64 code and needs an x86-64 host.");
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, 1UL << 30);
        var fd = Libc.MemfdCreate(name, Libc.MfdCloexec);
        if (fd < 0)
        {
            throw PlatformException.Last("memfd_create for code");
        }

        try
        {
            // Large pages have to lie in the file, and at the same places in the views as there.
            var size = (nuint)((length + LargePage - 1) & ~(ulong)(LargePage - 1));
            if (Libc.Ftruncate(fd, (long)size) != 0)
            {
                throw PlatformException.Last("ftruncate for code");
            }

            // One reservation for both views keeps them within reach of each other's relative addresses.
            const int reserve = Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve;
            const int view = Libc.MapShared | Libc.MapNoReserve | Libc.MapFixed;
            var reserved = Libc.Mmap(0, (2 * size) + LargePage, Libc.ProtNone, reserve, -1, 0);
            if (reserved == Libc.MapFailed)
            {
                throw PlatformException.Last("mmap of address space for code");
            }

            var writable = (reserved + LargePage - 1) & ~(nint)(LargePage - 1);
            var executable = writable + (nint)size;
            BackedMemory.Unmap(reserved, writable);
            BackedMemory.Unmap(executable + (nint)size, reserved + (nint)(2 * size) + LargePage);
            if (Libc.Mmap(writable, size, Libc.ProtRead | Libc.ProtWrite, view, fd, 0) == Libc.MapFailed
                || Libc.Mmap(executable, size, Libc.ProtRead | Libc.ProtExec, view, fd, 0) == Libc.MapFailed)
            {
                var error = PlatformException.Last("mmap of code memory");
                _ = Libc.Munmap(writable, 2 * size);
                throw error;
            }

            return new ExecutableMemory(writable, executable, length);
        }
        finally
        {
            _ = Libc.Close(fd);
        }
    }

    /// <summary>Tries the host's willingness: maps a page, runs a function in it.</summary>
    /// <returns>Null when code made at run time works; else the reason, for a person to read.</returns>
    public static string? Probe()
    {
        try
        {
            using var memory = Create("vitro-probe", 4096);
            ReadOnlySpan<byte> returnArgument = [0x48, 0x89, 0xF8, 0xC3]; // mov rax, rdi; ret
            returnArgument.CopyTo(new Span<byte>(memory.Writable, returnArgument.Length));
            var function = (delegate* unmanaged<nint, nint>)memory.Executable;
            return function(0x5A5A) == 0x5A5A ? null : "Code made at run time gave a wrong result.";
        }
        catch (PlatformNotSupportedException error)
        {
            return error.Message;
        }
        catch (PlatformException error)
        {
            return $"The host refuses executable memory ({error.Message}). A security policy such as SELinux execmem may be the cause.";
        }
    }

    /// <summary>
    /// Backs a part of it in both views, by large pages where the host gives any: rather than by a fault in each view for each page. The
    /// callers take turns.
    /// </summary>
    /// <param name="offset">A multiple of the page size.</param>
    /// <param name="length">Bytes; what lies behind the end is left out.</param>
    public void Populate(int offset, int length)
    {
        var end = (int)Math.Min((ulong)((long)offset + length), Length);
        while (offset < end)
        {
            var number = offset / LargePage;
            var next = (int)Math.Min((long)(number + 1) * LargePage, end);
            if (_backing[number] == Backing.Unknown)
            {
                _backing[number] = TryBackLarge((nint)number * LargePage) ? Backing.Large : Backing.Small;
            }

            if (_backing[number] == Backing.Small)
            {
                _ = Libc.Madvise(_writable + offset, (nuint)(next - offset), Libc.MadvPopulateWrite);
                _ = Libc.Madvise(_executable + offset, (nuint)(next - offset), Libc.MadvPopulateRead);
            }

            offset = next;
        }
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Dispose()
    {
        if (_writable != 0)
        {
            _ = Libc.Munmap(_writable, 2 * (nuint)_backing.Length * LargePage);
            _writable = 0;
            _executable = 0;
        }
    }

    // Makes one page of what there is, of which there has to be some (Linux 6.1; hosts that cannot or have none refuse).
    private bool TryBackLarge(nint offset)
    {
        if (Libc.Madvise(_writable + offset, Page, Libc.MadvPopulateWrite) != 0
            || Libc.Madvise(_writable + offset, LargePage, Libc.MadvCollapse) != 0)
        {
            return false;
        }

        // It is there already, and a fault maps all of it.
        _ = Libc.Madvise(_executable + offset, Page, Libc.MadvPopulateRead);
        return true;
    }
}
