using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Vid;
using Vitro.Tests;

namespace Vitro.KvmTests;

/// <summary>What the KVM engine must do on every host, case by case: on this host's own KVM and on a nested one.</summary>
internal static partial class KvmCases
{
    // out 0x200, al at the end of every guest; a case needs no other way to stop.
    private static ReadOnlySpan<byte> Stop => [0x66, 0xBA, 0x00, 0x02, 0xEE]; // mov dx, 0x200; out dx, al (64-bit code)

    internal static IReadOnlyList<(string Name, Action Body)> All { get; } =
    [
        ("the host is found fit", Fitness),
        ("a real-mode guest writes to ports and halts", RealMode),
        ("a string of bytes is read from a port", PortStrings),
        ("accesses of unbacked memory leave the guest with their sizes", Mmio),
        ("a read-only region takes no stores", ReadOnlyRegion),
        ("synthetic MSRs leave the guest", Msrs),
        ("a refused MSR faults in the guest", RefusedMsr),
        ("a user-mode guest runs and may not use ports", UserMode),
        ("the hypercall page calls from the kernel in 64-bit mode only", Hypercalls),
        ("the kernel carries out hypercalls that it can and gives up the others", KernelHypercalls),
        ("a signal with an event counter does not leave the guest for this process", BoundSignal),
        ("the kernel keeps the reference time and direct timers", KernelTimers),
        ("a bitmap of written pages names the pages written", () => DirtyLog(ring: false)),
        ("a ring of written pages names the pages written", () => DirtyLog(ring: true)),
        ("a guest that writes more pages than a ring holds goes on", DirtyRingFull),
        ("pages written while processors run are in one bitmap or the next, by bitmap", () => DirtyPagesOfRunningProcessors(ring: false)),
        ("pages written while processors run are in one bitmap or the next, by ring", () => DirtyPagesOfRunningProcessors(ring: true)),
        ("exits are served without an allocation", Allocations),
        ("writes that need no answer are gathered and come in order", GatheredWrites),
        ("writes that nothing follows come by time", GatheredWritesByTime),
        ("the state record goes in and comes out the same", StateRoundTrip),
        ("the time stamp counter is the partition's", TimeStampCounter),
        ("the time stamp counter stands still while the machine does", StoppedTimeStampCounter),
        ("the time stamp counter keeps the rate of another host, or the host says that it cannot", TimeStampCounterRate),
        ("what waited when a state was taken happens where it is restored", PendingEvents),
        ("a debug trap that waited when a state was taken happens where it is restored", PendingDebugTrap),
        ("a message interrupts a halted processor", () => MessageInterrupt(events: false)),
        ("a message with an event counter interrupts a halted processor", () => MessageInterrupt(events: true)),
        ("an interrupt of the 8259 pair waits until the guest takes it", ExternalInterrupt),
        ("a non-maskable interrupt", NonMaskable),
        ("a system management interrupt, saved while it waits and while it is served", SystemManagement),
        ("a second processor starts by INIT and start-up messages", SecondProcessor),
        ("the end of a level-triggered interrupt comes back", LevelEnd),
        ("a local APIC in the kernel is reached by synthetic MSRs", SyntheticApic),
        ("the local APIC's registers go in and come out the same", LocalApicRoundTrip),
        ("a guest that spins is cancelled every time", Cancel),
        ("a triple fault ends the run with the guest's place", TripleFault),
        ("an instruction that the host's KVM cannot fetch ends the run with its reason and place", InternalError),
        ("memory of large pages is the guest's, and more than the host has is refused", LargePages),
        ("memory that the host cannot give ends the run in words", LostMemory),
        ("a machine that is gone can be inspected", InspectAfterEnd),
        ("CPUID is what the machine was promised", Cpuid),
    ];

    private static void Fitness()
    {
        var engine = new KvmEngine();
        Check.That(engine.Probe().IsUsable, "the engine is usable: " + string.Join(' ', engine.Findings.Select(finding => finding.Detail)));
    }

    private static void RealMode()
    {
        using var machine = new KvmMachine();

        // mov dx,3f8h; mov al,'4'; out dx,al; mov al,10; out dx,al; mov ax,1234h; out dx,ax; hlt
        machine.StartReal(0xBA, 0xF8, 0x03, 0xB0, 0x34, 0xEE, 0xB0, 0x0A, 0xEE, 0xB8, 0x34, 0x12, 0xEF, 0xF4);
        using var stop = CancelWhen(machine, () => machine.Log.Count == 3);
        machine.RunToStop();
        CheckLog(machine, "out 3f8 1 34", "out 3f8 1 a", "out 3f8 2 1234");
        Check.Equal(VpActivity.Halted, machine.Processor.GetState().Activity);
        Check.Equal(KvmMachine.Code + 14, machine.Processor.GetState().Rip);
    }

    private static void PortStrings()
    {
        using var machine = new KvmMachine();
        var next = 0u;
        machine.Read = (_, _) => ++next;

        // mov rdi,0x6000; mov ecx,4; mov dx,0x60; rep insb
        machine.StartLong([0x48, 0xC7, 0xC7, 0x00, 0x60, 0, 0, 0xB9, 4, 0, 0, 0, 0x66, 0xBA, 0x60, 0, 0xF3, 0x6C, .. Stop]);
        machine.RunToStop();
        Check.Equal(0x04030201u, (uint)machine.ReadQword(0x6000));
    }

    private static void Mmio()
    {
        using var machine = new KvmMachine();
        machine.Read = (address, size) => address + (uint)size;

        // mov edi,0x30000000; mov al,[rdi]; mov ax,[rdi+2]; mov eax,[rdi+4]; mov rax,[rdi+8]; mov [rdi+0x10],rax; mov byte [rdi+0x18],7
        machine.StartLong([
            0xBF, 0, 0, 0, 0x30, 0x8A, 0x07, 0x66, 0x8B, 0x47, 2, 0x8B, 0x47, 4, 0x48, 0x8B, 0x47, 8, 0x48, 0x89, 0x47, 0x10, 0xC6, 0x47, 0x18, 7, .. Stop]);
        machine.RunToStop();
        CheckLog(
            machine, "load 30000000 1", "load 30000002 2", "load 30000004 4", "load 30000008 8", "store 30000010 8 30000010", "store 30000018 1 7");
    }

    private static void ReadOnlyRegion()
    {
        using var machine = new KvmMachine();
        using var rom = GuestMemory.Create(1 << 20);
        machine.Gpa.Map(new GpaRegion(KvmMachine.Unbacked, 1 << 20, rom.Host.Address, GpaAccess.Read | GpaAccess.Execute));

        // mov edi,0x30000000; mov eax,[rdi]; mov dword [rdi],0x11; mov eax,[rdi]
        machine.StartLong([0xBF, 0, 0, 0, 0x30, 0x8B, 0x07, 0xC7, 0x07, 0x11, 0, 0, 0, 0x8B, 0x07, .. Stop]);
        machine.RunToStop();
        CheckLog(machine, "store 30000000 4 11");
        Check.Equal(0UL, machine.Processor.GetState().Gpr[0] & uint.MaxValue);
        machine.Gpa.Unmap(KvmMachine.Unbacked);
    }

    private static void Msrs()
    {
        using var machine = new KvmMachine();
        machine.Read = (_, _) => 0x1122_3344_5566_7788;

        // mov ecx,0x40000073; mov eax,5; mov edx,6; wrmsr; mov ecx,0x40000020; rdmsr
        machine.StartLong([0xB9, 0x73, 0, 0, 0x40, 0xB8, 5, 0, 0, 0, 0xBA, 6, 0, 0, 0, 0x0F, 0x30, 0xB9, 0x20, 0, 0, 0x40, 0x0F, 0x32, 0x89, 0xD3, .. Stop]);
        machine.RunToStop();
        CheckLog(machine, "wrmsr 40000073 600000005", "rdmsr 40000020");
        var state = machine.Processor.GetState();
        Check.Equal(0x5566_7788UL, state.Gpr[0]);
        Check.Equal(0x1122_3344UL, state.Gpr[3]);
    }

    private static void RefusedMsr()
    {
        using var machine = new KvmMachine { MsrsWork = false };
        machine.SetGate(13, 0x9000, [0xE6, 0x42, .. Stop]); // out 0x42, al
        machine.StartLong([0xB9, 0x73, 0, 0, 0x40, 0x0F, 0x32, 0xE6, 0x43, .. Stop]);
        machine.RunToStop();
        Check.Equal("rdmsr 40000073", machine.Log[0]);
        Check.That(machine.Log[1].StartsWith("out 42", StringComparison.Ordinal), "the guest's handler of #GP ran");
    }

    private static void UserMode()
    {
        using var machine = new KvmMachine();
        machine.SetGate(13, 0x9000, [0xE6, 0x42, .. Stop]);

        // mov eax,7; imul eax,eax,6; mov [0x6000],eax by rdi; in al,0x60
        machine.StartLong([0xB8, 7, 0, 0, 0, 0x6B, 0xC0, 6, 0xBF, 0, 0x60, 0, 0, 0x89, 0x07, 0xE4, 0x60], privilege: 3);
        machine.RunToStop();
        Check.Equal(42u, (uint)machine.ReadQword(0x6000));
        CheckLog(machine, "out 42 1 2a");
    }

    private static void Hypercalls()
    {
        using var machine = new KvmMachine(accelerations: new KvmAccelerations { KernelHypercalls = false });
        machine.Hypercall = call => call.Control + call.Input + call.Output;

        // mov rcx,1; mov rdx,2; mov r8,4; call page
        ReadOnlySpan<byte> caller = [
            0x48, 0xC7, 0xC1, 1, 0, 0, 0, 0x48, 0xC7, 0xC2, 2, 0, 0, 0, 0x49, 0xC7, 0xC0, 4, 0, 0, 0, 0xBF, 0, 0xA0, 0, 0, 0xFF, 0xD7, 0x48, 0x89, 0xC3];
        machine.Write(0xA000, machine.Partition.HypercallPageCode);
        machine.StartLong([.. caller, .. Stop]);
        machine.RunToStop();
        Check.Equal(7UL, machine.Processor.GetState().Gpr[3]);

        // In user mode with the right to use ports the call is a write to a port where nothing is.
        machine.StartLong([.. caller, .. Stop], privilege: 3);
        var state = machine.Processor.GetState();
        state.Rflags |= 3 << 12;
        state.Gpr[0] = 0x77;
        machine.Processor.SetState(state);
        machine.RunToStop();
        Check.Equal(0x77UL, machine.Processor.GetState().Gpr[3]);
    }

    private static void StateRoundTrip()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0x90]);
        var state = machine.Processor.GetState();
        for (var i = 0; i < 16; i++)
        {
            state.Gpr[i] = 0x1111_1111_1111_1111UL * (ulong)i;
        }

        state.Rflags = 0x246;
        state.Cr2 = 0x1234_5000;
        state.Fs = state.Ds with { Base = 0x7FFF_1234_5678 };
        state.Gs = state.Ds with { Base = 0xFFFF_8000_1234_5678 };
        state.Dr[0] = 0x4000;
        state.Dr[7] = 0x401;
        state.Msrs[0xC000_0082] = 0xFFFF_8000_0000_1000;
        state.Msrs[0xC000_0102] = 0xFFFF_8000_0000_2000;
        state.Msrs[0x174] = 8;
        state.NmiBlocked = true;
        for (var i = 0; i < 256; i++)
        {
            state.Xsave[160 + i] = (byte)i;
        }

        state.Xsave[512] |= 3;
        machine.Processor.SetState(state);
        var back = machine.Processor.GetState();
        Check.Equal(string.Join(' ', state.Gpr), string.Join(' ', back.Gpr));
        Check.Equal(state.Rflags, back.Rflags);
        Check.Equal(state.Cr2, back.Cr2);
        Check.Equal(state.Cs, back.Cs);
        Check.Equal(state.Ss, back.Ss);
        Check.Equal(state.Fs, back.Fs);
        Check.Equal(state.Gs, back.Gs);
        Check.Equal(state.Tr, back.Tr);
        Check.Equal(state.Gdtr, back.Gdtr);
        Check.Equal(state.Dr[0], back.Dr[0]);
        Check.Equal(state.Dr[7], back.Dr[7]);
        Check.Equal(state.Msrs[0xC000_0082], back.Msrs[0xC000_0082]);
        Check.Equal(state.Msrs[0xC000_0102], back.Msrs[0xC000_0102]);
        Check.Equal(state.Msrs[0x174], back.Msrs[0x174]);
        Check.That(back.NmiBlocked, "non-maskable interrupts are still blocked");
        Check.That(state.Xsave.AsSpan(160, 256).SequenceEqual(back.Xsave.AsSpan(160, 256)), "the XMM registers are the same");
    }

    private static void TimeStampCounter()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, .. Stop]); // rdtsc; shl rdx,32; or rax,rdx
        var before = machine.Partition.ReadTsc();
        machine.RunToStop();
        var guest = machine.Processor.GetState().Gpr[0];
        var after = machine.Partition.ReadTsc();
        Check.That(before <= guest && guest <= after, $"{before} <= {guest} <= {after}");
    }

    private static void StoppedTimeStampCounter()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, .. Stop]);
        machine.Partition.StopTime();
        var stopped = machine.Partition.ReadTsc();
        var state = machine.Processor.GetState();
        Check.Equal(stopped, machine.Partition.ReadTsc());
        machine.Processor.SetState(state);
        stopped += 1UL << 50;
        machine.Partition.SetTsc(stopped);
        machine.Partition.StartTime();
        machine.RunToStop();
        var guest = machine.Processor.GetState().Gpr[0];
        var after = machine.Partition.ReadTsc();
        Check.That(stopped <= guest && guest <= after, $"{stopped} <= {guest} <= {after}");
    }

    private static void TimeStampCounterRate()
    {
        ulong host;
        using (var machine = new KvmMachine())
        {
            host = machine.Partition.TscFrequency;
        }

        // A little off, as another start of the same host would measure it; and far off.
        using (var near = new KvmMachine(tscFrequency: host + (host / 10_000)))
        {
            Check.Equal(host, near.Partition.TscFrequency);
        }

        // What another engine of this host begins with is what this one has.
        var offered = new KvmEngine();
        Check.That(offered.Probe().IsUsable && TscRate.IsSame(offered.HostTscFrequency!.Value, host), "the rate told before is the machine's");
        using (var same = new KvmMachine(tscFrequency: offered.HostTscFrequency))
        {
            Check.Equal(host, same.Partition.TscFrequency);
        }

        using var half = new KvmMachine(tscFrequency: host / 2_000 * 1_000);
        Check.That(half.Partition.TscFrequency == host || half.Partition.TscFrequency == host / 2_000 * 1_000, "the rate is the wanted one or the host's");
        half.StartLong([0x0F, 0x31, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0, .. Stop]);
        var before = half.Partition.ReadTsc();
        half.RunToStop();
        var guest = half.Processor.GetState().Gpr[0];
        Check.That(before <= guest && guest <= half.Partition.ReadTsc(), "the counter is the partition's");
    }

    private static void InspectAfterEnd()
    {
        var machine = new KvmMachine();
        var processor = machine.Processor;
        machine.StartLong(Stop);
        machine.RunToStop();
        machine.Dispose();
        var node = new InspectNode();
        processor.Inspect(node);
        Check.Equal(1L, (long)node.Find("counters/port_io")!);
    }

    private static void Cpuid()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0xB8, 0, 0, 0, 0, 0x0F, 0xA2, 0x89, 0xDF, .. Stop]); // mov eax,0; cpuid; mov edi,ebx
        machine.RunToStop();
        Check.Equal(0x756E_6547UL, machine.Processor.GetState().Gpr[7]);
    }

    private static void CheckLog(KvmMachine machine, params ReadOnlySpan<string> expected) =>
        Check.Equal(string.Join("; ", expected!), string.Join("; ", machine.Log));

    // Cancels processor 0 when a condition has come true; a halted guest cannot stop itself.
    private static Timer CancelWhen(KvmMachine machine, Func<bool> condition) => new(
        _ =>
        {
            if (condition())
            {
                machine.Processor.Cancel();
            }
        },
        null,
        TimeSpan.FromMilliseconds(20),
        TimeSpan.FromMilliseconds(20));
}
