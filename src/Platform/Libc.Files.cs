using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vitro.Platform;

/// <content>Files: positioned vectored I/O, durability, space, locks.</content>
internal static partial class Libc
{
    internal const int OpenReadOnly = 0;
    internal const int OpenReadWrite = 2;
    internal const int OpenCreate = 0x40;
    internal const int OpenExclusive = 0x80;
    internal const int OpenDirectory = 0x10000;
    internal const int OpenCloexec = 0x80000;

    internal const int SeekEnd = 2;
    internal const int SeekData = 3;
    internal const int SeekHole = 4;

    internal const int RwfDsync = 2;
    internal const int RwfNowait = 8;

    internal const int FallocZeroRange = 0x10;

    internal const int AtEmptyPath = 0x1000;
    internal const uint StatxBlocks = 0x400;
    internal const int StatxSize = 256;
    internal const int StatxBlocksOffset = 48;
    internal const int StatxBlockSize = 512;

    internal const int OfdSetLock = 37;
    internal const short LockRead = 0;
    internal const short LockWrite = 1;
    internal const short LockNone = 2;

    internal const int ErrorInterrupted = 4;
    internal const int ErrorNoSuchAddress = 6;
    internal const int ErrorAgain = 11;
    internal const int ErrorAccess = 13;
    internal const int ErrorInvalid = 22;
    internal const int ErrorNotSupported = 95;

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    internal static partial long Lseek(SafeFileHandle file, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    internal static unsafe partial nint Preadv2(SafeFileHandle file, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    internal static unsafe partial nint Pwritev2(SafeFileHandle file, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    internal static partial int Fdatasync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    internal static partial int Fsync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    internal static partial int Ftruncate(SafeFileHandle file, long length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    internal static partial int Fallocate(SafeFileHandle file, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static unsafe partial int Statx(SafeFileHandle file, string path, int flags, uint mask, byte* result);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    internal static partial int Fcntl(SafeFileHandle file, int command, ref FileLock argument);

    /// <summary>struct iovec.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct IoVector
    {
        internal nint Base;
        internal nuint Length;
    }

    /// <summary>struct flock on 64-bit Linux.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 32)]
    internal struct FileLock
    {
        [FieldOffset(0)]
        internal short Type;

        [FieldOffset(2)]
        internal short Whence;

        [FieldOffset(8)]
        internal long Start;

        [FieldOffset(16)]
        internal long Length;

        [FieldOffset(24)]
        internal int Process;
    }
}
