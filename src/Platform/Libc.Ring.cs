using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vitro.Platform;

/// <content>io_uring (io_uring_setup(2), io_uring_enter(2), linux/io_uring.h) and eventfd(2).</content>
internal static partial class Libc
{
    internal const uint RingSetupClamp = 1 << 4;
    internal const uint RingSetupCoopTaskRun = 1 << 8;
    internal const uint RingFeatureSingleMmap = 1 << 0;
    internal const uint RingFeatureNoDrop = 1 << 1;
    internal const uint RingEnterGetEvents = 1;
    internal const long RingOffsetSubmissionRing = 0;
    internal const long RingOffsetEntries = 0x10000000;
    internal const byte RingOpReadv = 1;
    internal const byte RingOpRead = 22;
    internal const int MapPopulate = 0x8000;
    internal const int EventCloexec = 0x80000;
    internal const int ErrorBusy = 16;

    private const int SystemCallRingSetup = 425;
    private const int SystemCallRingEnter = 426;

    internal static unsafe SafeFileHandle RingSetup(uint entries, RingParameters* parameters) =>
        new((nint)SystemCall(SystemCallRingSetup, (nint)entries, (nint)parameters, 0, 0, 0, 0), ownsHandle: true);

    internal static int RingEnter(int ring, uint submit, uint complete, uint flags) =>
        (int)SystemCall(SystemCallRingEnter, ring, (nint)submit, (nint)complete, (nint)flags, 0, 0);

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    internal static partial int Eventfd(uint initial, int flags);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    internal static partial nint Write(SafeFileHandle file, in ulong buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    internal static partial nint Read(SafeFileHandle file, ref ulong buffer, nuint count);

    /// <summary>There is something to read.</summary>
    internal const short PollIn = 1;

    [LibraryImport("libc", EntryPoint = "poll")]
    internal static partial int Poll(ref Pollfd file, nuint count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint SystemCall(nint number, nint one, nint two, nint three, nint four, nint five, nint six);

    /// <summary>struct io_uring_params, with its offsets of the submission and the completion ring.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    internal struct RingParameters
    {
        [FieldOffset(0)]
        internal uint SubmissionEntries;

        [FieldOffset(4)]
        internal uint CompletionEntries;

        [FieldOffset(8)]
        internal uint Flags;

        [FieldOffset(20)]
        internal uint Features;

        [FieldOffset(40)]
        internal uint SubmissionHead;

        [FieldOffset(44)]
        internal uint SubmissionTail;

        [FieldOffset(48)]
        internal uint SubmissionMask;

        [FieldOffset(64)]
        internal uint SubmissionArray;

        [FieldOffset(80)]
        internal uint CompletionHead;

        [FieldOffset(84)]
        internal uint CompletionTail;

        [FieldOffset(88)]
        internal uint CompletionMask;

        [FieldOffset(100)]
        internal uint CompletionEntriesOffset;
    }

    /// <summary>struct io_uring_sqe, as far as reads use it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 64)]
    internal struct RingSubmission
    {
        [FieldOffset(0)]
        internal byte Operation;

        [FieldOffset(4)]
        internal int File;

        [FieldOffset(8)]
        internal long Offset;

        [FieldOffset(16)]
        internal nint Address;

        [FieldOffset(24)]
        internal uint Length;

        [FieldOffset(32)]
        internal ulong UserData;
    }

    /// <summary>struct io_uring_cqe.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct RingCompletion
    {
        internal ulong UserData;
        internal int Result;
        internal uint Flags;
    }

    /// <summary>struct pollfd.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Pollfd
    {
        internal int File;
        internal short Events;
        internal short Happened;
    }
}
