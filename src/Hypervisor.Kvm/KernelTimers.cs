using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// The host's kernel keeps the partition reference time, its page, and the synthetic timers in direct mode (KVM_CAP_HYPERV_TIME with KVM_CAP_HYPERV_SYNIC2):
/// a guest reads the counter and arms a timer without leaving for this process.
/// </summary>
/// <remarks>
/// Timers that send messages stay this process's: the kernel would write them into the slots into which this process writes those of VMBus,
/// without a lock between the two. So configurations are always written through here, counts only while no timer wants messages.
/// </remarks>
internal sealed class KernelTimers(KvmFile vm, KvmVirtualProcessor[] processors) : IEngineTimers
{
    private const uint ReferenceTscPage = 0x4000_0021;
    private const uint FirstConfig = 0x4000_00B0;
    private const uint DirectMode = 1 << 19;
    private const uint Features = 0x4000_0003;

    private readonly Lock _gate = new();
    private bool _holdsTimers;

    /// <inheritdoc/>
    public ulong ReferenceTime
    {
        get
        {
            var clock = default(KvmClock);
            vm.Call("Reading the machine's clock", KvmRequest.GetClock, ref clock);
            return clock.Nanoseconds / 100;
        }
    }

    /// <summary>Whether a host can; a kernel with direct mode has all else of it too.</summary>
    internal static bool IsOffered(KvmFile device) =>
        device.Extent(KvmCapability.HypervTime) != 0 && device.Extent(KvmCapability.HypervSynic2) != 0
        && device.Extent(KvmCapability.SystemHypervCpuid) != 0 && (HostCpuid.ReadHyperv(device)[Features].Edx & DirectMode) != 0;

    /// <inheritdoc/>
    public void SetReferenceTime(ulong value)
    {
        var clock = new KvmClock { Nanoseconds = value * 100 };
        vm.Call("Setting the machine's clock", KvmRequest.SetClock, ref clock);
    }

    /// <inheritdoc/>
    public bool TrySetReferenceTscPage(int vpIndex, ulong register) => MsrList.TryWrite(processors[vpIndex].File, ReferenceTscPage, register);

    /// <inheritdoc/>
    public void HoldTimers(bool held)
    {
        lock (_gate)
        {
            if (_holdsTimers != held)
            {
                MsrFilter.Install(vm, referenceTime: true, timers: held);
                _holdsTimers = held;
            }
        }
    }

    /// <inheritdoc/>
    public (ulong Config, ulong Count) ReadTimer(int vpIndex, int timer)
    {
        var file = processors[vpIndex].File;
        return (MsrList.Read(file, Config(timer)), MsrList.Read(file, Config(timer) + 1));
    }

    /// <inheritdoc/>
    public void WriteTimer(int vpIndex, int timer, ulong config, ulong count)
    {
        // Off while the count changes: it would be taken for the old count's otherwise.
        Write(vpIndex, Config(timer), 0);
        Write(vpIndex, Config(timer) + 1, count);
        Write(vpIndex, Config(timer), config);
    }

    /// <inheritdoc/>
    public void WriteTimerConfig(int vpIndex, int timer, ulong config) => Write(vpIndex, Config(timer), config);

    private static uint Config(int timer) => FirstConfig + ((uint)timer * 2);

    private void Write(int vpIndex, uint msr, ulong value)
    {
        if (!MsrList.TryWrite(processors[vpIndex].File, msr, value))
        {
            throw new HypervisorException($"The host's KVM takes no value for MSR 0x{msr:x}, though it says that it has synthetic timers.");
        }
    }
}
