using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// Has the host's kernel take hypercalls (KVM_CAP_HYPERV_SYNIC2): it carries out flushes of address translations, interrupts to
/// many processors and signals at connections that have an event counter, and gives up the rest.
/// </summary>
/// <remarks>
/// The MSRs of the interface stay this process's, since <see cref="MsrFilter"/> comes first. What the kernel has to know of them is
/// written to its own: the guest's identity, without which it takes no hypercall, while the hypercall page is enabled; and the
/// interrupt sources that end by themselves, which only a local APIC's own kernel can end.
/// </remarks>
internal sealed class KernelHypercalls : IDisposable
{
    private const uint GuestOsId = 0x4000_0000;
    private const uint HypercallPage = 0x4000_0001;
    private const uint FirstSource = 0x4000_0090;
    private const uint LastSource = 0x4000_009F;
    private const ulong PageEnable = 1;
    private const ulong SourceMasked = 1 << 16;
    private const ulong SourceEndsByItself = 1 << 17;

    // Secure virtual machines (AMD) and virtual machine extensions (Intel), each with an instruction of its own for calls.
    private static readonly bool HasSvm = X86Base.IsSupported && (X86Base.CpuId(unchecked((int)0x8000_0001), 0).Ecx & 4) != 0;

    private readonly KvmFile _vm;
    private readonly KvmVirtualProcessor[] _processors;
    private readonly Lock _gate = new();
    private readonly HashSet<uint> _bound = [];
    private bool _isDisposed;

    private KernelHypercalls(KvmFile vm, KvmVirtualProcessor[] processors)
    {
        _vm = vm;
        _processors = processors;
    }

    /// <summary>VMMCALL or VMCALL; RET.</summary>
    internal static ReadOnlySpan<byte> PageCode => HasSvm ? [0x0F, 0x01, 0xD9, 0xC3] : [0x0F, 0x01, 0xC1, 0xC3];

    /// <summary>Whether a host can: all that is used comes with one kernel.</summary>
    internal static bool IsOffered(KvmFile file) =>
        file.Extent(KvmCapability.HypervSynic2) != 0 && file.Extent(KvmCapability.HypervEventFd) != 0
        && file.Extent(KvmCapability.HypervTlbFlush) != 0 && file.Extent(KvmCapability.HypervSendIpi) != 0;

    /// <summary>Switches it on; null when the host cannot.</summary>
    internal static KernelHypercalls? TryCreate(KvmFile vm, KvmVirtualProcessor[] processors) =>
        IsOffered(vm) && processors.All(static processor => processor.File.TryEnable(KvmCapability.HypervSynic2))
            ? new KernelHypercalls(vm, processors)
            : null;

    /// <summary>Tells the kernel of a register that the guest has written; on the processor's thread.</summary>
    internal void OnRegisterWritten(KvmVirtualProcessor processor, uint msr)
    {
        if (msr is GuestOsId or HypercallPage)
        {
            TellIdentity(processor);
        }
        else if (msr is >= FirstSource and <= LastSource)
        {
            TellSource(processor, msr);
        }
    }

    /// <summary>Tells the kernel of all registers; while no processor runs.</summary>
    internal void TellAll()
    {
        TellIdentity(_processors[0]);
        foreach (var processor in _processors)
        {
            for (var msr = FirstSource; msr <= LastSource; msr++)
            {
                TellSource(processor, msr);
            }
        }
    }

    /// <inheritdoc cref="IPartition.TryBindSignal"/>
    internal bool TryBind(uint connectionId, SafeHandle file)
    {
        lock (_gate)
        {
            var binding = new KvmSignalBinding { ConnectionId = connectionId, Descriptor = (int)file.DangerousGetHandle() };
            return !_isDisposed && _vm.Try(KvmRequest.AssignSignal, ref binding) == 0 && _bound.Add(connectionId);
        }
    }

    /// <inheritdoc cref="IPartition.UnbindSignal"/>
    internal void Unbind(uint connectionId)
    {
        lock (_gate)
        {
            if (!_isDisposed && _bound.Remove(connectionId))
            {
                var binding = new KvmSignalBinding { ConnectionId = connectionId, Flags = KvmSignalBinding.Remove };
                _vm.Call($"Unbinding connection {connectionId}", KvmRequest.AssignSignal, ref binding);
            }
        }
    }

    /// <inheritdoc/>
    /// <remarks>The kernel lets the event counters go with the machine; channels that close later find nothing bound.</remarks>
    public void Dispose()
    {
        lock (_gate)
        {
            _isDisposed = true;
        }
    }

    private static void TellIdentity(KvmVirtualProcessor processor)
    {
        var enabled = processor.TryReadIntercepted(HypercallPage, out var page) && (page & PageEnable) != 0;
        processor.TryReadIntercepted(GuestOsId, out var identity);
        Tell(processor, GuestOsId, enabled ? identity : 0);
    }

    // The kernel would have every end of an interrupt whose vector it knows leave the guest; so it knows no others.
    private static void TellSource(KvmVirtualProcessor processor, uint msr)
    {
        var ends = processor.TryReadIntercepted(msr, out var source) && (source & (SourceMasked | SourceEndsByItself)) == SourceEndsByItself;
        Tell(processor, msr, ends ? source : SourceMasked);
    }

    private static void Tell(KvmVirtualProcessor processor, uint msr, ulong value)
    {
        if (!MsrList.TryWrite(processor.File, msr, value))
        {
            throw new HypervisorException($"The host's KVM takes no value for MSR 0x{msr:x}, though it says that it knows the register.");
        }
    }
}
