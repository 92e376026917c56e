using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Kvm.Interop;

/// <summary>The C library calls of the KVM engine, as declared in the Linux manual pages (sections 2 and 3).</summary>
internal static unsafe partial class Libc
{
    internal const int OpenReadWrite = 2;
    internal const int OpenCloexec = 0x80000;
    internal const int SignalRestart = 0x1000_0000;
    internal const int SignalOnStack = 0x0800_0000;

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    internal static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, ulong request, void* argument);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    internal static partial int Ioctl(int fd, ulong request, ulong argument);

    [LibraryImport("libc", EntryPoint = "gettid")]
    internal static partial int Gettid();

    [LibraryImport("libc", EntryPoint = "tgkill", SetLastError = true)]
    internal static partial int Tgkill(int process, int thread, int signal);

    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    internal static partial int Sigaction(int signal, in SignalAction action, nint old);

    /// <summary>struct sigaction of the C library on x86-64.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 152)]
    internal struct SignalAction
    {
        [FieldOffset(0)]
        internal nint Handler;

        [FieldOffset(136)]
        internal int Flags;
    }
}
