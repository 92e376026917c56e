using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Kvm.Interop;

/// <summary>A file of the KVM interface: the device, a virtual machine or a virtual processor.</summary>
internal sealed unsafe class KvmFile : IDisposable
{
    internal const int NotPermitted = 1;
    internal const int NotFound = 2;
    internal const int Interrupted = 4;
    internal const int NoDevice = 19;
    internal const int TooMany = 7;
    internal const int TryAgain = 11;
    internal const int OutOfMemory = 12;
    internal const int AccessDenied = 13;
    internal const int Fault = 14;
    internal const int Busy = 16;
    internal const int NoFilesLeft = 24;
    internal const int NoSuchRequest = 25;
    internal const int HardwarePoison = 133;

    private const string Device = "/dev/kvm";
    private int _fd;

    internal KvmFile(int fd) => _fd = fd;

    internal int Descriptor => _fd;

    /// <summary>Opens the device; gives the error number when the host refuses.</summary>
    internal static KvmFile? TryOpen(out int error)
    {
        var fd = Libc.Open(Device, Libc.OpenReadWrite | Libc.OpenCloexec);
        error = fd < 0 ? Marshal.GetLastPInvokeError() : 0;
        return fd < 0 ? null : new KvmFile(fd);
    }

    /// <summary>A request that must work.</summary>
    /// <exception cref="HypervisorException">The host refuses; the message names what was asked.</exception>
    internal int Call(string what, ulong request, ulong argument = 0) => Check(what, Libc.Ioctl(_fd, request, argument));

    /// <inheritdoc cref="Call(string, ulong, ulong)"/>
    internal int Call(string what, ulong request, void* argument) => Check(what, Libc.Ioctl(_fd, request, argument));

    /// <inheritdoc cref="Call(string, ulong, ulong)"/>
    internal int Call<T>(string what, ulong request, ref T argument)
        where T : unmanaged
    {
        fixed (T* pointer = &argument)
        {
            return Check(what, Libc.Ioctl(_fd, request, pointer));
        }
    }

    /// <summary>A request that may fail; -1 then, and the error number is the thread's last P/Invoke error.</summary>
    internal int Try(ulong request, ulong argument = 0) => Libc.Ioctl(_fd, request, argument);

    /// <inheritdoc cref="Try(ulong, ulong)"/>
    internal int Try<T>(ulong request, ref T argument)
        where T : unmanaged
    {
        fixed (T* pointer = &argument)
        {
            return Libc.Ioctl(_fd, request, pointer);
        }
    }

    /// <summary>The extent of a capability; 0 when the host has it not.</summary>
    internal int Extent(KvmCapability capability) => Math.Max(0, Libc.Ioctl(_fd, KvmRequest.CheckExtension, (ulong)capability));

    /// <summary>Switches a capability on; false when the host refuses.</summary>
    internal bool TryEnable(KvmCapability capability, ulong argument = 0)
    {
        var enable = new KvmEnableCapability { Capability = (uint)capability, Argument0 = argument };
        return Try(KvmRequest.EnableCapability, ref enable) == 0;
    }

    /// <summary>Switches on a capability that must be there.</summary>
    internal void Enable(KvmCapability capability, ulong argument = 0)
    {
        var enable = new KvmEnableCapability { Capability = (uint)capability, Argument0 = argument };
        Call($"KVM capability {capability}", KvmRequest.EnableCapability, ref enable);
    }

    public void Dispose()
    {
        if (_fd >= 0)
        {
            _ = Libc.Close(_fd);
            _fd = -1;
        }
    }

    private static int Check(string what, int result)
    {
        if (result >= 0)
        {
            return result;
        }

        throw new HypervisorException(Explain(what, Marshal.GetLastPInvokeError()));
    }

    /// <summary>What it means that the host refuses a request, with the cure where one is known.</summary>
    internal static string Explain(string what, int error) => $"{what}: {Marshal.GetPInvokeErrorMessage(error)} (errno {error}).{Cure(error)}";

    private static string Cure(int error) => error switch
    {
        TooMany or NoFilesLeft => " This host runs as many virtual machines or processors as it allows, or this user has as many files open: end some, or raise the limit ('ulimit -n').",
        NoSuchRequest => " The host's kernel is too old for this engine, or its KVM is a restricted one: use Linux 5.10 or later, or '--engine software'.",
        NotPermitted => " The host forbids it to this user: a security module or a container may, and then its rules must allow it.",
        OutOfMemory => " The host has no memory left for the machine: give it less, or free some.",
        Busy => " Another hypervisor may hold the processor's virtualization extensions: stop it, or unload its module.",
        _ => "",
    };
}
