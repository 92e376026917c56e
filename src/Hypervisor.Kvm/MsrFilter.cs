using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// Makes the synthetic MSRs of the Hyper-V interface leave the guest, whatever the host's KVM knows of them itself, but for those that
/// <see cref="KernelTimers"/> gives to it. All other MSRs are KVM's.
/// </summary>
internal static unsafe class MsrFilter
{
    /// <summary>KVM_MSR_EXIT_REASON_FILTER: only filtered accesses leave; unknown MSRs fault in the guest as on a processor.</summary>
    internal const ulong ExitReason = 4;

    private const uint Reads = 1;
    private const uint Writes = 2;
    private const uint First = 0x4000_0000;
    private const int Count = 0x200;
    private const int ReferenceCounter = 0x20;
    private const int FirstTimerConfig = 0xB0;
    private const int LastTimerCount = 0xB7;

    /// <summary>Sets the filter. When it returns no access goes by the one before; thread-safe.</summary>
    /// <param name="vm">The machine.</param>
    /// <param name="referenceTime">The kernel answers reads of the reference counter.</param>
    /// <param name="timers">The kernel answers reads of the synthetic timers' registers and takes writes of their counts.</param>
    internal static void Install(KvmFile vm, bool referenceTime, bool timers)
    {
        // A bit that is clear denies the access, and a denied one leaves the guest.
        var reads = stackalloc byte[Count / 8];
        var writes = stackalloc byte[Count / 8];
        new Span<byte>(reads, Count / 8).Clear();
        new Span<byte>(writes, Count / 8).Clear();
        if (referenceTime)
        {
            Allow(reads, ReferenceCounter);
        }

        for (var msr = FirstTimerConfig; timers && msr <= LastTimerCount; msr++)
        {
            Allow(reads, msr);
            if ((msr & 1) != 0)
            {
                Allow(writes, msr);
            }
        }

        var filter = default(KvmMsrFilter);
        filter.Ranges[0] = new KvmMsrFilterRange { Flags = Reads, Base = First, Count = Count, Bitmap = (nint)reads };
        filter.Ranges[1] = new KvmMsrFilterRange { Flags = Writes, Base = First, Count = Count, Bitmap = (nint)writes };
        vm.Call("Filtering the synthetic MSRs", KvmRequest.SetMsrFilter, ref filter);
    }

    private static void Allow(byte* bits, int msr) => bits[msr / 8] |= (byte)(1 << (msr % 8));
}
