using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// Makes every synthetic MSR of the Hyper-V interface leave the guest, whatever the host's KVM knows of them itself. All
/// other MSRs are KVM's.
/// </summary>
internal static unsafe class MsrFilter
{
    /// <summary>KVM_MSR_EXIT_REASON_FILTER: only filtered accesses leave; unknown MSRs fault in the guest as on a processor.</summary>
    internal const ulong ExitReason = 4;

    private const uint Reads = 1;
    private const uint Writes = 2;
    private const uint First = 0x4000_0000;
    private const int Count = 0x200;

    internal static void Install(KvmFile vm)
    {
        // A bit that is clear denies the access, and a denied one leaves the guest.
        var denied = stackalloc byte[Count / 8];
        new Span<byte>(denied, Count / 8).Clear();
        var filter = default(KvmMsrFilter);
        filter.Ranges[0] = new KvmMsrFilterRange { Flags = Reads | Writes, Base = First, Count = Count, Bitmap = (nint)denied };
        vm.Call("Filtering the synthetic MSRs", KvmRequest.SetMsrFilter, ref filter);
    }
}
