using System.Runtime.InteropServices;

namespace Vitro.Platform;

/// <summary>The C library calls Vitro uses, as declared in the Linux manual pages (sections 2 and 3).</summary>
internal static partial class Libc
{
    internal const int ProtNone = 0;
    internal const int ProtRead = 1;
    internal const int ProtWrite = 2;
    internal const int ProtExec = 4;
    internal const int MapShared = 1;
    internal const int MapPrivate = 2;
    internal const int MapFixed = 0x10;
    internal const int MapAnonymous = 0x20;
    internal const int MapNoReserve = 0x4000;

    /// <summary>MAP_HUGETLB | MAP_HUGE_2MB.</summary>
    internal const int MapLargePages = 0x40000 | (21 << 26);
    internal const int MadvHugePage = 14;
    internal const int MadvPopulateRead = 22;
    internal const int MadvPopulateWrite = 23;
    internal const int MadvCollapse = 25;
    internal const int MfdCloexec = 1;
    internal const int FallocPunchHole = 2;
    internal const int FallocKeepSize = 1;
    internal const int TfdNonblock = 0x800;
    internal const int TfdCloexec = 0x80000;
    internal const int TfdTimerAbstime = 1;
    internal const int ClockMonotonic = 1;

    internal static readonly nint MapFailed = -1;

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int MemfdCreate(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
    internal static partial int Ftruncate(int fd, long length);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    internal static partial long Lseek(int fd, long offset, int whence);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    internal static partial nint Mmap(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    internal static partial int Munmap(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "madvise", SetLastError = true)]
    internal static partial int Madvise(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mlock", SetLastError = true)]
    internal static partial int Mlock(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    internal static partial int Fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    internal static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "timerfd_create", SetLastError = true)]
    internal static partial int TimerfdCreate(int clock, int flags);

    [LibraryImport("libc", EntryPoint = "timerfd_settime", SetLastError = true)]
    internal static partial int TimerfdSettime(int fd, int flags, in Itimerspec value, nint oldValue);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    internal static partial nint Read(int fd, ref ulong buffer, nuint count);

    [StructLayout(LayoutKind.Sequential)]
    internal struct Itimerspec
    {
        internal long IntervalSeconds;
        internal long IntervalNanoseconds;
        internal long Seconds;
        internal long Nanoseconds;
    }
}
