using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <content>Reset, the engine-neutral state record, the local APIC's registers, CPUID and inspection.</content>
internal sealed unsafe partial class KvmVirtualProcessor
{
    private const int XsaveSize = 4096;
    private const int XstateBv = 512;
    private const ulong LegacyComponents = 3;
    private const byte DebugException = 1;

    private readonly CpuidTable _cpuid;

    /// <summary>The guest's time stamp counter minus the host's.</summary>
    internal ulong TscOffset
    {
        get
        {
            ulong offset = 0;
            var attribute = TscOffsetAttribute(&offset);
            File.Call("Reading the offset of the time stamp counter", KvmRequest.GetDeviceAttribute, ref attribute);
            return offset;
        }

        set
        {
            var attribute = TscOffsetAttribute(&value);
            File.Call("Setting the offset of the time stamp counter", KvmRequest.SetDeviceAttribute, ref attribute);
        }
    }

    /// <inheritdoc/>
    public void Reset() => SetState(ResetState.Create(Index, _cpuid[1].Eax));

    /// <inheritdoc/>
    public VirtualProcessorState GetState()
    {
        // First, because it has the kernel act on an INIT or start-up message that waits, which changes everything else.
        var state = new VirtualProcessorState { Activity = ReadActivity() };
        KvmRegisters general = default;
        File.Call("Reading registers", KvmRequest.GetRegisters, ref general);
        RegisterMap.Export(general, state);
        KvmSystemRegisters system = default;
        File.Call("Reading system registers", KvmRequest.GetSystemRegisters, ref system);
        RegisterMap.Export(system, state);
        KvmDebugRegisters debug = default;
        File.Call("Reading debug registers", KvmRequest.GetDebugRegisters, ref debug);
        for (var i = 0; i < 4; i++)
        {
            state.Dr[i] = debug.Db[i];
        }

        state.Dr[6] = debug.Dr6;
        state.Dr[7] = debug.Dr7;
        KvmXcrs xcrs = default;
        if (File.Try(KvmRequest.GetXcrs, ref xcrs) == 0 && xcrs.Count > 0)
        {
            state.Xcr0 = xcrs.Value0;
        }

        var xsave = stackalloc byte[XsaveSize];
        File.Call("Reading the vector state", KvmRequest.GetXsave, xsave);
        new ReadOnlySpan<byte>(xsave, state.Xsave.Length).CopyTo(state.Xsave);
        MsrList.Read(File, state.Msrs);
        state.TscOffset = TscOffset - _partition.TscOffset;

        KvmEvents events = default;
        File.Call("Reading pending events", KvmRequest.GetEvents, ref events);
        state.InterruptShadow = events.InterruptShadow != 0;

        // What the kernel was about to deliver when it had to leave the guest. A fault among that is not saved: its
        // instruction is executed again and faults again. A trap's instruction is not. A non-maskable interrupt masks others from its delivery on.
        state.AcknowledgedInterrupt = events.InterruptInjected != 0 ? events.InterruptNumber : null;
        state.NmiPending = (events.NmiPending | events.NmiInjected) != 0;
        state.NmiBlocked = events.NmiMasked != 0 && events.NmiInjected == 0;
        if (events.ExceptionPending != 0 && events.ExceptionNumber == DebugException)
        {
            // Kernels may set DR6 before they enter the handler.
            state.PendingDebug = (events.ExceptionHasPayload != 0 ? events.ExceptionPayload : debug.Dr6) & VirtualProcessorState.DebugReasons;
        }

        if (_partition.HasSystemManagement)
        {
            state.SmiPending = events.SmiPending != 0;
            state.InSystemManagement = events.InSmm != 0;
            state.SystemManagementInNmi = events.SmmInNmi != 0;
            state.InitPending = events.LatchedInit != 0;
        }

        return state;
    }

    /// <inheritdoc/>
    public void SetState(VirtualProcessorState state)
    {
        // What an unfinished exit would still do belongs to the state that is replaced.
        AbandonExit();
        _ = ReadActivity();

        KvmSystemRegisters system = default;
        File.Call("Reading system registers", KvmRequest.GetSystemRegisters, ref system);
        RegisterMap.Import(state, ref system);
        File.Call("Setting system registers", KvmRequest.SetSystemRegisters, ref system);
        KvmRegisters general = default;
        RegisterMap.Import(state, ref general);
        File.Call("Setting registers", KvmRequest.SetRegisters, ref general);
        var debug = new KvmDebugRegisters { Dr6 = state.Dr[6], Dr7 = state.Dr[7] };
        for (var i = 0; i < 4; i++)
        {
            debug.Db[i] = state.Dr[i];
        }

        File.Call("Setting debug registers", KvmRequest.SetDebugRegisters, ref debug);
        if (_cpuid[0xD, 0].Eax != 0)
        {
            var xcrs = new KvmXcrs { Count = 1, Value0 = state.Xcr0 & ((ulong)_cpuid[0xD, 0].Eax | 1) };
            File.Call("Setting XCR0", KvmRequest.SetXcrs, ref xcrs);
        }

        var xsave = stackalloc byte[XsaveSize];
        new Span<byte>(xsave, XsaveSize).Clear();
        state.Xsave.AsSpan(0, Math.Min(state.Xsave.Length, XsaveSize)).CopyTo(new Span<byte>(xsave, XsaveSize));

        // Components that the guest has not, but another engine's image may name.
        *(ulong*)(xsave + XstateBv) &= _cpuid[0xD, 0].Eax | LegacyComponents;
        File.Call("Setting the vector state", KvmRequest.SetXsave, xsave);
        MsrList.Write(File, state.Msrs);
        TscOffset = _partition.TscOffset + state.TscOffset;

        var trap = state.PendingDebug & VirtualProcessorState.DebugReasons;
        var events = new KvmEvents
        {
            Flags = KvmEvents.NmiPendingValid | KvmEvents.ShadowValid | KvmEvents.PayloadValid,
            ExceptionNumber = DebugException,
            ExceptionPending = trap == 0 ? (byte)0 : (byte)1,
            ExceptionHasPayload = trap == 0 ? (byte)0 : (byte)1,
            ExceptionPayload = trap,
            InterruptInjected = state.AcknowledgedInterrupt is null ? (byte)0 : (byte)1,
            InterruptNumber = state.AcknowledgedInterrupt.GetValueOrDefault(),
            InterruptShadow = state.InterruptShadow ? KvmEvents.ShadowOfSti : (byte)0,
            NmiPending = state.NmiPending ? (byte)1 : (byte)0,
            NmiMasked = state.NmiBlocked ? (byte)1 : (byte)0,
        };
        if (_partition.HasSystemManagement)
        {
            events.Flags |= KvmEvents.SmmValid;
            events.SmiPending = state.SmiPending ? (byte)1 : (byte)0;
            events.InSmm = state.InSystemManagement ? (byte)1 : (byte)0;
            events.SmmInNmi = state.SystemManagementInNmi ? (byte)1 : (byte)0;
        }

        File.Call("Setting pending events", KvmRequest.SetEvents, ref events);
        var activity = state.Activity switch
        {
            VpActivity.Halted => Activity.Halted,

            // Not "uninitialized", in which the kernel takes no start-up message before an INIT.
            VpActivity.WaitForStartup => Activity.InitReceived,
            _ => Activity.Runnable,
        };
        File.Call("Setting the activity", KvmRequest.SetActivity, ref activity);
        if (state.InitPending)
        {
            SignalInit();
        }

        if (state.PendingStartup is { } vector)
        {
            SignalStartup(vector);
        }
    }

    /// <summary>Reads the local APIC.</summary>
    internal LocalApicRegisters ReadLocalApic()
    {
        var registers = new LocalApicRegisters();
        fixed (byte* page = registers.Page)
        {
            File.Call("Reading the local APIC", KvmRequest.GetLocalApic, page);
        }

        registers.ApicBase = MsrList.Read(File, MsrList.ApicBase);
        registers.TscDeadline = MsrList.TryRead(File, MsrList.TscDeadline, out var deadline) ? deadline : 0;
        return registers;
    }

    /// <summary>Replaces the local APIC's registers.</summary>
    internal void WriteLocalApic(LocalApicRegisters registers)
    {
        // The mode first, because it says how the page is to be read; by way of disabled, as the architecture asks.
        KvmSystemRegisters system = default;
        File.Call("Reading system registers", KvmRequest.GetSystemRegisters, ref system);
        system.ApicBase = registers.ApicBase;
        File.Call("Setting the local APIC's mode", KvmRequest.SetSystemRegisters, ref system);
        fixed (byte* page = registers.Page)
        {
            File.Call("Setting the local APIC", KvmRequest.SetLocalApic, page);
        }

        if (registers.TscDeadline != 0)
        {
            MsrList.TryWrite(File, MsrList.TscDeadline, registers.TscDeadline);
        }
    }

    /// <summary>Reads a byte at a linear address as the guest would now; false when it is not mapped to memory.</summary>
    internal bool TryReadLinear(ulong address, out byte value)
    {
        value = 0;
        var translation = new KvmTranslation { Linear = address };
        return File.Try(KvmRequest.Translate, ref translation) == 0 && translation.Valid != 0
            && _partition.Options.Gpa.TryRead(translation.Physical, new Span<byte>(ref value));
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        var counters = node.Child("counters");
        counters.Value("port_io", Counters.PortIo);
        counters.Value("mmio", Counters.Mmio);
        counters.Value("msr", Counters.Msr);
        counters.Value("hypercalls", Counters.Hypercalls);
        counters.Value("end_of_interrupt", Counters.EndOfInterrupt);
        counters.Value("dirty_ring_full", Counters.DirtyRingFull);
        counters.Value("interrupt_windows", Counters.Windows);

        lock (_sharedPage)
        {
            if (_runMapping.Address == 0)
            {
                return;
            }

            // The shared page holds them as of the last exit; asking the kernel would wait for a running guest.
            node.Value("exit", _run->ExitReason.ToString());
            ref readonly var registers = ref _run->Registers;
            node.Child("registers").Hex("rip", registers.Rip).Hex("rsp", registers.Rsp).Hex("rax", registers.Rax).Hex("rflags", registers.Rflags);
        }
    }

    private VpActivity ReadActivity()
    {
        uint activity = 0;
        File.Call("Reading the activity", KvmRequest.GetActivity, ref activity);
        return activity switch
        {
            Activity.Halted => VpActivity.Halted,
            Activity.Uninitialized or Activity.InitReceived => VpActivity.WaitForStartup,
            _ => VpActivity.Running,
        };
    }

    private void SetCpuid()
    {
        var entries = _cpuid.Entries.OrderBy(entry => entry.Key).ToArray();
        var buffer = new byte[8 + (entries.Length * sizeof(KvmCpuidEntry))];
        fixed (byte* bytes = buffer)
        {
            *(int*)bytes = entries.Length;
            var next = (KvmCpuidEntry*)(bytes + 8);
            foreach (var ((leaf, subleaf), result) in entries)
            {
                *next++ = new KvmCpuidEntry
                {
                    Function = leaf,
                    Index = subleaf == CpuidTable.AnySubleaf ? 0 : subleaf,
                    Flags = subleaf == CpuidTable.AnySubleaf ? 0 : KvmCpuidEntry.SignificantIndex,
                    Eax = result.Eax,
                    Ebx = result.Ebx,
                    Ecx = result.Ecx,
                    Edx = result.Edx,
                };
            }

            File.Call("Setting CPUID", KvmRequest.SetCpuid, bytes);
        }
    }

    private void AbandonExit()
    {
        if (_run->ExitReason is not (KvmExit.Io or KvmExit.Mmio or KvmExit.ReadMsr or KvmExit.WriteMsr or KvmExit.Hyperv))
        {
            return;
        }

        var kicked = Interlocked.Exchange(ref _run->ImmediateExit, 1);
        _ = File.Try(KvmRequest.Run);
        Volatile.Write(ref _run->ImmediateExit, kicked);
    }

    private static KvmDeviceAttribute TscOffsetAttribute(ulong* value) => new()
    {
        Group = KvmDeviceAttribute.TscControl,
        Attribute = KvmDeviceAttribute.TscOffset,
        Address = (ulong)value,
    };

    private static class Activity
    {
        internal const uint Runnable = 0;
        internal const uint Uninitialized = 1;
        internal const uint InitReceived = 2;
        internal const uint Halted = 3;
    }
}
