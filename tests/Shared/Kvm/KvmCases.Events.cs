using System.Buffers.Binary;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;
using Vitro.Tests;

namespace Vitro.KvmTests;

// Interrupts, several processors, what ends a run.
internal static partial class KvmCases
{
    private const ulong MessageAddress = 0xFEE0_0000;

    private static void MessageInterrupt(bool events)
    {
        using var machine = new KvmMachine(accelerations: new KvmAccelerations { IrqFd = events });
        EnableLocalApic(machine, 0);
        machine.SetGate(0x41, 0x9000, [0xE6, 0x41, .. Stop]);
        machine.StartLong([0xFB, 0xE6, 0x40, 0xF4, 0xEB, 0xFD]); // sti; out 0x40,al; hlt; jmp back
        using var raise = new Timer(
            _ =>
            {
                if (machine.Log.Count == 1)
                {
                    machine.Partition.LocalApics!.Send(MessageAddress, 0x41);
                }
            },
            null,
            TimeSpan.FromMilliseconds(20),
            TimeSpan.FromMilliseconds(20));
        machine.RunToStop();
        Check.That(machine.Log[1].StartsWith("out 41", StringComparison.Ordinal), "the handler ran");
        Check.Equal(events ? 1 : 0, ((KvmLocalApics)machine.Partition.LocalApics!).EventCount);
    }

    private static void ExternalInterrupt()
    {
        using var machine = new KvmMachine();
        EnableLocalApic(machine, 0);
        machine.SetGate(0x31, 0x9000, [0xE6, 0x31, .. Stop]);
        machine.External.Raise(0x31);

        // With interrupts off it waits: out 0x40,al; sti; nop; hlt
        machine.StartLong([0xE6, 0x40, 0xFB, 0x90, 0xF4]);
        machine.RunToStop();
        Check.That(machine.Log[0].StartsWith("out 40", StringComparison.Ordinal), "the guest went on with interrupts off");
        Check.That(machine.Log[1].StartsWith("out 31", StringComparison.Ordinal), "the handler ran then");
        Check.That(!machine.External.HasPendingInterrupt, "the vector was taken");
    }

    private static void NonMaskable()
    {
        using var machine = new KvmMachine();
        EnableLocalApic(machine, 0);
        machine.SetGate(2, 0x9000, [0xE6, 0x02, .. Stop]);
        machine.StartLong([0xE6, 0x40, 0xF4, 0xEB, 0xFD]);
        using var raise = new Timer(
            _ =>
            {
                if (machine.Log.Count == 1)
                {
                    machine.Processor.SignalNmi();
                }
            },
            null,
            TimeSpan.FromMilliseconds(20),
            TimeSpan.FromMilliseconds(20));
        machine.RunToStop();
        Check.That(machine.Log[1].StartsWith("out 2", StringComparison.Ordinal), "the handler ran");
    }

    private static void PendingEvents()
    {
        using var machine = new KvmMachine(processors: 2);
        EnableLocalApic(machine, 0);
        EnableLocalApic(machine, 1);

        // An interrupt taken from its controller and not delivered.
        machine.SetGate(0x41, 0x9000, [0xE6, 0x41, .. Stop]);
        machine.SetGate(2, 0xA000, [0xE6, 0x02, .. Stop]);
        machine.StartLong([0xE6, 0x40, .. Stop]);
        var state = machine.Processor.GetState();
        state.Rflags |= 1 << 9;
        state.AcknowledgedInterrupt = 0x41;
        machine.Processor.SetState(state);
        Check.Equal<byte?>(0x41, machine.Processor.GetState().AcknowledgedInterrupt);
        machine.RunToStop();
        Check.That(machine.Log[0].StartsWith("out 41", StringComparison.Ordinal), "the interrupt came before the next instruction");
        Check.Equal<byte?>(null, machine.Processor.GetState().AcknowledgedInterrupt);

        machine.StartLong([0xE6, 0x40, .. Stop]);
        state = machine.Processor.GetState();
        state.NmiPending = true;
        state.NmiBlocked = false;
        machine.Processor.SetState(state);
        machine.RunToStop();
        Check.That(machine.Log[1].StartsWith("out 2 ", StringComparison.Ordinal), "the non-maskable interrupt came before the next instruction");
        Check.That(machine.Processor.GetState().NmiBlocked, "its handler runs with others blocked");

        // A second processor that waits for its start-up message, which is on its way; then one that has an INIT before it.
        machine.Write(0x8000, [0xB0, 5, 0xE6, 0x44, 0xBA, 0, 2, 0xEE]); // mov al,5; out 0x44,al; mov dx,0x200; out dx,al
        var second = machine.Partition.VirtualProcessors[1];
        foreach (var init in new[] { false, true })
        {
            machine.Log.Clear();
            state = second.GetState();
            state.Activity = init ? VpActivity.Running : VpActivity.WaitForStartup;
            state.InitPending = init;
            state.PendingStartup = 8;
            second.SetState(state);
            var exit = KvmMachine.RunToEnd(second);
            Check.Equal(VpExitReason.Cancelled, exit.Reason, exit.Detail);
            CheckLog(machine, "out 44 1 5");
        }
    }

    private static void SystemManagement()
    {
        using var machine = new KvmMachine();
        EnableLocalApic(machine, 0);
        if (!machine.Processor.TrySignalSmi())
        {
            Console.WriteLine("The host's KVM has no system management mode.");
            return;
        }

        // At SMBASE + 8000h, in 16-bit code: mov dx,0x200; out dx,al; mov byte [0x6000],1; rsm
        machine.Write(0x38000, [0xBA, 0, 2, 0xEE, 0xC6, 0x06, 0, 0x60, 1, 0x0F, 0xAA]);

        // mov edi,0x6000; L: cmp byte [rdi],1; jne L; out 0x40,al
        ReadOnlySpan<byte> code = [0xBF, 0, 0x60, 0, 0, 0x80, 0x3F, 1, 0x75, 0xFB, 0xE6, 0x40, .. Stop];
        machine.StartLong(code);
        Check.That(!machine.Processor.GetState().SmiPending, "an interrupt from before the start is forgotten");
        Check.That(machine.Processor.TrySignalSmi(), "it is sent");
        var state = machine.Processor.GetState();
        Check.That(state.SmiPending && !state.InSystemManagement, "it waits");
        GoOnElsewhere(machine, code, state);
        machine.RunToStop();
        state = machine.Processor.GetState();
        Check.That(state.InSystemManagement && !state.SmiPending, "the processor is in system management mode");
        Check.Equal(0x30000UL, state.Msrs[0x9E]);
        GoOnElsewhere(machine, code, state);
        machine.RunToStop();
        Check.That(!machine.Processor.GetState().InSystemManagement, "it has left it");
        CheckLog(machine, "out 40 1 0");
    }

    // Something else runs on the processor before it goes on where a state was taken.
    private static void GoOnElsewhere(KvmMachine machine, ReadOnlySpan<byte> code, VirtualProcessorState state)
    {
        machine.StartLong(Stop);
        machine.RunToStop();
        machine.StartLong(code);
        machine.Processor.SetState(state);
    }

    private static void PendingDebugTrap()
    {
        using var machine = new KvmMachine();
        machine.SetGate(1, 0x9000, [0xE6, 0x01, .. Stop]);

        // mov dx,0x200; out dx,al by single step: the run ends within the OUT, whose trap then waits.
        machine.StartLong([.. Stop, 0xE6, 0x40, .. Stop]);
        var state = machine.Processor.GetState();
        state.Rip += 4;
        state.Gpr[2] = KvmMachine.StopPort;
        state.Rflags |= 1 << 8;
        machine.Processor.SetState(state);
        machine.RunToStop();
        state = machine.Processor.GetState();
        Check.Equal(KvmMachine.Code + 5, state.Rip);
        Check.Equal(1UL << 14, state.PendingDebug);

        // Something else happens on the processor; then it goes on where the state was taken.
        machine.StartLong([.. Stop]);
        machine.RunToStop();
        Check.Equal(0UL, machine.Processor.GetState().PendingDebug);
        machine.StartLong([.. Stop, 0xE6, 0x40, .. Stop]);
        machine.Processor.SetState(state);
        Check.Equal(1UL << 14, machine.Processor.GetState().PendingDebug);
        machine.RunToStop();
        Check.That(machine.Log[0].StartsWith("out 1 ", StringComparison.Ordinal), "the handler ran before the next instruction");
        state = machine.Processor.GetState();
        Check.Equal(1UL << 14, state.Dr[6] & (1 << 14), "DR6 names the single step");
        Check.Equal(KvmMachine.Code + 5, machine.ReadQword(state.Gpr[4]), "it returns behind the instruction");
    }

    private static void SecondProcessor()
    {
        using var machine = new KvmMachine(processors: 2);
        // Real mode at 0x8000: mov al,5; out 0x44,al; mov dx,0x200; out dx,al
        machine.Write(0x8000, [0xB0, 5, 0xE6, 0x44, 0xBA, 0, 2, 0xEE]);
        var second = machine.Partition.VirtualProcessors[1];
        Check.Equal(VpActivity.WaitForStartup, second.GetState().Activity);
        var ended = Task.Factory.StartNew(
            () => KvmMachine.RunToEnd(second), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

        second.SignalInit();
        second.SignalStartup(8);
        var exit = ended.GetAwaiter().GetResult();
        Check.Equal(VpExitReason.Cancelled, exit.Reason, exit.Detail);
        CheckLog(machine, "out 44 1 5");
    }

    private static void LevelEnd()
    {
        using var machine = new KvmMachine();
        EnableLocalApic(machine, 0);
        var ended = new List<byte>();
        machine.Partition.LocalApics!.ConnectEndOfInterrupt(ended.Add);
        machine.Partition.LocalApics.SetPinMessage(9, MessageAddress, 0xC051);

        // The handler ends the interrupt through the x2APIC: mov ecx,0x80b; xor eax,eax; xor edx,edx; wrmsr
        machine.SetGate(0x51, 0x9000, [0xB9, 0x0B, 0x08, 0, 0, 0x31, 0xC0, 0x31, 0xD2, 0x0F, 0x30, .. Stop]);
        machine.StartLong([0xFB, 0x90, 0xF4, 0xEB, 0xFD]);
        machine.Partition.LocalApics.Send(MessageAddress, 0xC051);
        machine.RunToStop();
        Check.Equal("81", string.Join(' ', ended));
    }

    private static void SyntheticApic()
    {
        using var machine = new KvmMachine();
        EnableLocalApic(machine, 0);
        var apics = machine.Partition.LocalApics!;
        var ended = new List<byte>();
        apics.ConnectEndOfInterrupt(ended.Add);
        apics.SetPinMessage(9, MessageAddress, 0xC051);
        machine.WriteMsr = (msr, value) => apics.TryWriteMsr(0, msr - 0x4000_0070 + (msr == 0x4000_0070 ? 0x80Bu : msr == 0x4000_0071 ? 0x82Fu : 0x806u), value);

        // The handler ends the interrupt, raises the task priority to 20h and sends itself vector 61h, which the flags hold off:
        // xor eax,eax; xor edx,edx; mov ecx,0x40000070; wrmsr; mov al,0x20; mov ecx,0x40000072; wrmsr; mov al,0x61; dec ecx; wrmsr
        machine.SetGate(0x51, 0x9000, [
            0x31, 0xC0, 0x31, 0xD2, 0xB9, 0x70, 0, 0, 0x40, 0x0F, 0x30, 0xB0, 0x20, 0xB9, 0x72, 0, 0, 0x40, 0x0F, 0x30, 0xB0, 0x61, 0xFF, 0xC9, 0x0F, 0x30,
            .. Stop]);
        machine.StartLong([0xFB, 0x90, 0xF4, 0xEB, 0xFD]);
        apics.Send(MessageAddress, 0xC051);
        machine.RunToStop();
        Check.Equal("81", string.Join(' ', ended));
        Check.That(apics.TryReadMsr(0, 0x808, out var priority) && priority == 0x20, "the task priority is set");
        Check.That(apics.TryReadMsr(0, 0x830, out var command) && (byte)command == 0x61, "the command is the one sent");
        Check.Equal(1u << 1, Get(apics.Read(0), 0x20 + 3) & (1u << 1));
    }

    private static void LocalApicRoundTrip()
    {
        using var machine = new KvmMachine();
        EnableLocalApic(machine, 0);
        var apics = machine.Partition.LocalApics!;
        var registers = apics.Read(0);
        Put(registers, 0x08, 0x20); // task priority
        Put(registers, 0x32, 0x200EF); // timer: periodic, vector EF

        // Half a minute and half of that, so that a busy host does not see it begin anew.
        Put(registers, 0x38, 2_000_000_000);
        Put(registers, 0x39, 1_000_000_000);
        Put(registers, 0x3E, 3);
        Put(registers, 0x22, 1u << 17); // requested: vector 0x51
        apics.Write(0, registers);
        var back = apics.Read(0);
        Check.Equal(registers.ApicBase, back.ApicBase);
        foreach (var register in new[] { 0x08, 0x0F, 0x32, 0x38, 0x3E, 0x22 })
        {
            Check.Equal(Get(registers, register), Get(back, register), $"register {register:x}");
        }

        Check.That(Get(back, 0x39) is > 0 and <= 1_000_000_000, "the timer goes on from its count");
    }

    private static void Cancel()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0x48, 0xFF, 0xC0, 0xEB, 0xFB]); // inc rax; jmp back
        for (var round = 0; round < 200; round++)
        {
            var early = (round & 1) == 0;
            if (early)
            {
                machine.Processor.Cancel();
            }

            using var timer = early ? null : new Timer(_ => machine.Processor.Cancel(), null, TimeSpan.FromMilliseconds(1), Timeout.InfiniteTimeSpan);
            var exit = KvmMachine.RunToEnd(machine.Processor);
            Check.Equal(VpExitReason.Cancelled, exit.Reason, exit.Detail);
        }

        Check.That(machine.Processor.GetState().Gpr[0] > 1000, "the guest ran between the cancellations");
    }

    private static void TripleFault()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0x0F, 0x0B]); // ud2, and no gate for it
        var exit = KvmMachine.RunToEnd(machine.Processor);
        Check.Equal(VpExitReason.TripleFault, exit.Reason, exit.Detail);
    }

    private static void LostMemory()
    {
        using var machine = new KvmMachine();
        using var file = File.Create(Path.GetTempFileName(), 4096, FileOptions.DeleteOnClose);
        file.SetLength(1 << 20);
        using var lost = FileMapping.Create((int)file.SafeFileHandle.DangerousGetHandle(), 1 << 20, "mmap of the lost memory");
        machine.Gpa.Map(new GpaRegion(KvmMachine.Unbacked, 1 << 20, lost.Address, GpaAccess.Read | GpaAccess.Write));

        // The file is cut behind the mapping's back: what was promised is not there.
        file.SetLength(0);

        machine.StartLong([0xBF, 0, 0, 0, 0x30, 0x8B, 0x07, .. Stop]); // mov edi,0x30000000; mov eax,[rdi]
        var exit = KvmMachine.RunToEnd(machine.Processor);
        Check.Equal(VpExitReason.InternalError, exit.Reason, exit.Detail);
        foreach (var part in new[] { "cannot give the memory", "'mov eax,[rdi]'" })
        {
            Check.That(exit.Detail.Contains(part, StringComparison.Ordinal), $"'{exit.Detail}' says '{part}'");
        }
    }

    private static void InternalError()
    {
        using var machine = new KvmMachine();
        machine.StartLong([0xBF, 0, 0, 0, 0x30, 0xFF, 0xE7]); // mov edi,0x30000000; jmp rdi: nothing is there
        var exit = KvmMachine.RunToEnd(machine.Processor);
        Check.Equal(VpExitReason.InternalError, exit.Reason, exit.Detail);
        foreach (var part in new[] { "cannot emulate the instruction", "vp 0 at 8:30000000 (64 bit)", "the instruction is not in memory" })
        {
            Check.That(exit.Detail.Contains(part, StringComparison.Ordinal), $"'{exit.Detail}' says '{part}'");
        }
    }

    private static void EnableLocalApic(KvmMachine machine, int processor)
    {
        var apics = machine.Partition.LocalApics!;
        var registers = apics.Read(processor);
        registers.ApicBase |= 0xC00; // enabled, x2APIC
        Put(registers, 0x0F, 0x1FF);
        Put(registers, 0x35, 0x700); // LINT0: external interrupts
        apics.Write(processor, registers);
    }

    private static void Put(LocalApicRegisters registers, int register, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(registers.Page.AsSpan(register * 16), value);

    private static uint Get(LocalApicRegisters registers, int register) =>
        BinaryPrimitives.ReadUInt32LittleEndian(registers.Page.AsSpan(register * 16));
}
