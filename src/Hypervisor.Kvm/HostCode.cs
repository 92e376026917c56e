using System.Runtime.InteropServices;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Platform;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// The two pieces of machine code the engine needs and no library offers: a signal handler that does nothing, so that a
/// signal ends KVM_RUN without entering managed code, and the reading of the host's time stamp counter.
/// </summary>
internal static unsafe class HostCode
{
    // The runtime uses the first real-time signal itself.
    private const int KickSignal = 36;
    private const int TscOffset = 16;

    private static readonly ExecutableMemory Memory;

    // Explicit, so that the handler stands before the first signal: Kick itself reads no field.
    static HostCode() => Memory = Install();

    /// <summary>The host's time stamp counter.</summary>
    internal static ulong ReadTsc() => ((delegate* unmanaged<ulong>)(Memory.Executable + TscOffset))();

    /// <summary>Makes a thread of this process leave KVM_RUN.</summary>
    internal static void Kick(int threadId)
    {
        // Fails only when the thread has ended, which left KVM_RUN too.
        _ = Libc.Tgkill(Environment.ProcessId, threadId, KickSignal);
    }

    private static ExecutableMemory Install()
    {
        var memory = ExecutableMemory.Create("vitro-kvm", 4096);
        ReadOnlySpan<byte> handler = [0xC3]; // ret
        ReadOnlySpan<byte> tsc = [0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, 0xC3]; // rdtsc; shl rdx,32; or rax,rdx; ret
        handler.CopyTo(new Span<byte>(memory.Writable, handler.Length));
        tsc.CopyTo(new Span<byte>(memory.Writable + TscOffset, tsc.Length));
        var action = new Libc.SignalAction
        {
            Handler = (nint)memory.Executable,
            Flags = Libc.SignalRestart | Libc.SignalOnStack,
        };
        return Libc.Sigaction(KickSignal, in action, 0) == 0
            ? memory
            : throw new PlatformException("sigaction", Marshal.GetLastPInvokeError());
    }
}
