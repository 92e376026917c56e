using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Kvm;

/// <summary>A partition run by the host's KVM: split interrupt chip, memory slots on the machine's memory file.</summary>
internal sealed unsafe class KvmPartition : IPartition
{
    /// <summary>
    /// The port by which the hypercall page leaves the guest. A VMCALL would be taken by KVM for one of its own calls, and
    /// no device of a PC answers here.
    /// </summary>
    internal const byte HypercallPort = 0xEB;

    // Only processors that cannot run real mode by themselves use these pages; nothing else lies there.
    private const ulong IdentityMapAddress = 0xFEFF_C000;
    private const ulong TssAddress = 0xFEFF_D000;

    private readonly KvmFile _vm;
    private readonly MemorySlots _memory;
    private readonly KvmLocalApics _apics;
    private readonly KvmVirtualProcessor[] _processors;
    private readonly KvmTimeStampCounter _tsc;
    private readonly CoalescedWrites? _coalesced;
    private readonly KernelHypercalls? _hypercalls;
    private readonly KernelTimers? _timers;
    private ulong? _stoppedTsc;

    internal KvmPartition(KvmFile device, PartitionOptions options, KvmAccelerations accelerations)
    {
        Options = options;
        _vm = new KvmFile(device.Call("Creating a virtual machine", KvmRequest.CreateVm));
        _processors = new KvmVirtualProcessor[options.VirtualProcessorCount];
        try
        {
            PrepareMachine();
            var hasDirtyRings = accelerations.DirtyRing && TryEnableDirtyRings();
            HasSystemManagement = _vm.Extent(KvmCapability.SystemManagement) != 0 && _vm.Extent(KvmCapability.AddressSpaces) > 1;
            _memory = new MemorySlots(_vm, options.Gpa, HasSystemManagement ? 2 : 1);
            var coalescedRing = accelerations.CoalescedWrites ? CoalescedWrites.RingOffset(_vm) : 0;
            _apics = new KvmLocalApics(_vm, _processors, accelerations.IrqFd && _vm.Extent(KvmCapability.IrqFd) != 0);
            var runSize = device.Call("Asking for the size of a processor's shared page", KvmRequest.GetVcpuMmapSize);
            for (var i = 0; i < _processors.Length; i++)
            {
                var file = new KvmFile(_vm.Call($"Creating virtual processor {i}", KvmRequest.CreateVcpu, (ulong)i));
                _processors[i] = new KvmVirtualProcessor(this, file, runSize, i);
                if (hasDirtyRings)
                {
                    _memory.AddRing(file);
                }
            }

            if (coalescedRing != 0)
            {
                _coalesced = new CoalescedWrites(_vm, _processors[0], _processors[0].SharedPages + coalescedRing, options);
            }

            _hypercalls = accelerations.KernelHypercalls ? KernelHypercalls.TryCreate(_vm, _processors) : null;

            _timers = accelerations.KernelTimers && TryEnableTimers(device) ? new KernelTimers(_vm, _processors) : null;
            MsrFilter.Install(_vm, referenceTime: _timers is not null, timers: false);

            // The processors' counters were started together.
            TscOffset = _processors[0].TscOffset;
            _tsc = KvmTimeStampCounter.Create(_vm, _processors, options.TscFrequency);
            foreach (var processor in _processors)
            {
                processor.Reset();

                // The kernel learns the address of a local APIC when its registers are set, not when it is made.
                processor.WriteLocalApic(processor.ReadLocalApic());
            }

            options.Gpa.Attach(_memory);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>What it was made of.</summary>
    internal PartitionOptions Options { get; }

    /// <inheritdoc/>
    public IReadOnlyList<IVirtualProcessor> VirtualProcessors => _processors;

    /// <inheritdoc/>
    public IEngineLocalApics LocalApics => _apics;

    /// <inheritdoc/>
    public IEngineTimers? Timers => _timers;

    /// <summary>The host's KVM has system management mode, with memory in it.</summary>
    internal bool HasSystemManagement { get; }

    /// <summary>The memory slots.</summary>
    internal MemorySlots Memory => _memory;

    /// <inheritdoc/>
    /// <remarks>Where the kernel does not take the calls, OUT imm8, EAX with a prefix that changes nothing but its length; RET.</remarks>
    public ReadOnlySpan<byte> HypercallPageCode => _hypercalls is null ? [0x48, 0xE7, HypercallPort, 0xC3] : KernelHypercalls.PageCode;

    /// <inheritdoc/>
    public ulong TscFrequency => _tsc.Frequency;

    /// <summary>What the kernel adds to the host's counter, scaled, for a processor whose guest has not written its own.</summary>
    internal ulong TscOffset { get; private set; }

    /// <summary>Hears of the ends of level-triggered interrupts.</summary>
    internal void OnEndOfInterrupt(byte vector) => _apics.OnEndOfInterrupt(vector);

    /// <summary>Sends a message-signalled interrupt to one processor.</summary>
    internal void Signal(int vpIndex, uint data) => _apics.Send(KvmLocalApics.MessageAddress | ((ulong)(uint)vpIndex << 12), data);

    /// <inheritdoc/>
    public void CoalesceWrites(ushort port) => _coalesced?.Add(port);

    /// <summary>Carries out the writes that the kernel has gathered.</summary>
    internal void FlushWrites(KvmVirtualProcessor vp) => _coalesced?.Flush(vp);

    /// <inheritdoc/>
    public bool TryBindSignal(uint connectionId, SafeHandle file) => _hypercalls is { } hypercalls && hypercalls.TryBind(connectionId, file);

    /// <inheritdoc/>
    public void UnbindSignal(uint connectionId) => _hypercalls?.Unbind(connectionId);

    /// <summary>Hears of a synthetic register that the guest has written.</summary>
    internal void OnRegisterWritten(KvmVirtualProcessor vp, uint msr) => _hypercalls?.OnRegisterWritten(vp, msr);

    /// <inheritdoc/>
    public void LogDirtyPages(bool enabled) => _memory.LogDirtyPages(enabled);

    /// <inheritdoc/>
    public void TakeDirtyPages(Span<ulong> pages)
    {
        _memory.CollectDirtyPages();
        Options.Gpa.TakeDirtyPages(pages);
    }

    /// <inheritdoc/>
    public ulong ReadTsc() => _stoppedTsc ?? _tsc.Read();

    /// <inheritdoc/>
    public void StopTime() => _stoppedTsc = ReadTsc();

    /// <inheritdoc/>
    public void SetTsc(ulong value) => _stoppedTsc = value;

    /// <inheritdoc/>
    public void StartTime()
    {
        // What was restored or reset while the machine stood still.
        _hypercalls?.TellAll();
        if (_stoppedTsc is not { } stopped)
        {
            return;
        }

        var passed = _tsc.Read() - stopped;
        foreach (var processor in _processors)
        {
            processor.TscOffset -= passed;
        }

        TscOffset -= passed;
        _tsc.SetBack(passed);
        _stoppedTsc = null;
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        node.Value("tscFrequency", (long)TscFrequency);
        node.Value("kernelHypercalls", _hypercalls is not null).Value("kernelTimers", _timers is not null).Value("interruptEvents", _apics.EventCount);
        foreach (var processor in _processors)
        {
            processor.Inspect(node.Child("vp" + processor.Index));
        }

        _memory.Inspect(node.Child("memory"));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _coalesced?.Dispose();
        _hypercalls?.Dispose();
        _memory?.Dispose();
        foreach (var processor in _processors)
        {
            processor?.Dispose();
        }

        _vm.Dispose();
        _apics?.Dispose();
    }

    private bool TryEnableDirtyRings() =>
        _vm.Extent(KvmCapability.DirtyLogRing) >= DirtyRing.Size && _vm.TryEnable(KvmCapability.DirtyLogRing, DirtyRing.Size);

    // A guest that was not promised the timers finds none, as everywhere.
    private bool TryEnableTimers(KvmFile device) =>
        HypervCpuid.FeaturesOf(Options.Cpuid) is { SyntheticTimers: true, DirectTimers: true } && KernelTimers.IsOffered(device)
        && _processors.All(static processor => processor.File.TryEnable(KvmCapability.HypervSynic2));

    private void PrepareMachine()
    {
        var identity = IdentityMapAddress;
        _vm.Call("Placing the identity map", KvmRequest.SetIdentityMapAddress, ref identity);
        _vm.Call("Placing the task state segment", KvmRequest.SetTssAddress, TssAddress);
        _vm.Enable(KvmCapability.SplitIrqChip, KvmLocalApics.PinCount);
        _vm.Enable(KvmCapability.ExceptionPayload, 1);
        _vm.Enable(KvmCapability.UserSpaceMsr, MsrFilter.ExitReason);
    }
}
