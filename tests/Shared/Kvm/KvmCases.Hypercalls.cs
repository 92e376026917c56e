using System.Buffers.Binary;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Platform;
using Vitro.Tests;

namespace Vitro.KvmTests;

// Hypercalls that the host's kernel takes.
internal static partial class KvmCases
{
    private const ulong HypercallPage = 0xA000;
    private const ulong PostMessage = 0x5C;
    private const ulong FastSignal = 0x1005D;
    private const ulong InvalidCode = 2;

    private static void KernelHypercalls()
    {
        using var machine = MakeHypervMachine();
        var calls = new List<HypercallRegisters>();
        machine.Hypercall = call =>
        {
            calls.Add(call);
            return 0x13;
        };

        // Calls of this process: all that the kernel gives up, with what the guest gave and the answer as the guest gets it.
        Check.Equal(0x13UL, Call(machine, PostMessage, 0x6000, 0));
        Check.Equal(new HypercallRegisters(PostMessage, 0x6000, 0), calls[0]);
        Check.Equal(0x13UL, Call(machine, FastSignal, 7, 0));
        Check.Equal(new HypercallRegisters(FastSignal, 7, 0), calls[1]);

        // A signal whose parameter is in memory.
        machine.Write(0x6000, [9, 0, 0, 0, 0, 0, 0, 0]);
        Check.Equal(0x13UL, Call(machine, FastSignal & 0xFFFF, 0x6000, 0));
        Check.Equal(new HypercallRegisters(FastSignal, 9, 0), calls[2]);

        // Calls of the kernel: flush everything of all processors (by address space), and one that nobody knows.
        machine.Write(0x6000, new byte[24]);
        machine.Write(0x6008, [3]);
        Check.Equal(0UL, Call(machine, 2, 0x6000, 0));
        Check.Equal(InvalidCode, Call(machine, 0x99, 0, 0));
        Check.Equal(3, calls.Count);

        // An interrupt to processor 0, which it takes once it lets interrupts in.
        EnableLocalApic(machine, 0);
        machine.SetGate(0x41, 0x9000, [0xE6, 0x41, .. Stop]);
        Check.Equal(0UL, Call(machine, 0x1000B, 0x41, 1));
        machine.StartLong([0xFB, 0x90, 0xF4, .. Stop]);
        machine.Log.Clear();
        machine.RunToStop();
        Check.That(machine.Log[0].StartsWith("out 41", StringComparison.Ordinal), "the handler ran");

        // Not from user mode, and not when the guest has taken its page away.
        machine.SetGate(6, 0x9000, [0xE6, 0x06, .. Stop]);
        machine.Log.Clear();
        Start(machine, PostMessage, 0, 0, privilege: 3);
        machine.RunToStop();
        Check.That(machine.Log[0].StartsWith("out 6 ", StringComparison.Ordinal), "a call in user mode is an invalid instruction");
        machine.Read = (_, _) => 0;
        WriteIdentity(machine);
        Check.That(Call(machine, PostMessage, 0, 0) != 0x13, "a guest without the page makes no calls");
        Check.Equal(3, calls.Count);
    }

    private static void BoundSignal()
    {
        using var machine = MakeHypervMachine();
        var calls = 0;
        machine.Hypercall = _ =>
        {
            calls++;
            return 0x12;
        };
        using var signal = new WakeEvent();
        Check.That(machine.Partition.TryBindSignal(5, signal.File), "the signal is bound");
        Check.Equal(0UL, Call(machine, FastSignal, 5, 0));
        signal.Wait();
        Check.Equal(0, calls);

        // Another flag of the same connection, and another connection, are this process's.
        Check.Equal(0x12UL, Call(machine, FastSignal, 5 | (1UL << 32), 0));
        Check.Equal(0x12UL, Call(machine, FastSignal, 6, 0));
        Check.That(!machine.Partition.TryBindSignal(5, signal.File), "a connection has one counter");
        machine.Partition.UnbindSignal(5);
        machine.Partition.UnbindSignal(5);
        Check.Equal(0x12UL, Call(machine, FastSignal, 5, 0));
        Check.Equal(3, calls);
        Check.That(machine.Partition.TryBindSignal(5, signal.File), "the connection can be bound again");
        Check.Equal(0UL, Call(machine, FastSignal, 5, 0));

        using var without = new KvmMachine(accelerations: new KvmAccelerations { KernelHypercalls = false });
        Check.That(!without.Partition.TryBindSignal(5, signal.File), "without the kernel's hypercalls nothing is bound");
    }

    // A guest that has told who it is and enabled its hypercall page, as the interface's registers then show.
    private static KvmMachine MakeHypervMachine()
    {
        var machine = new KvmMachine(isHyperv: true);
        machine.Write(HypercallPage, machine.Partition.HypercallPageCode);
        machine.Read = (msr, _) => msr switch
        {
            0x4000_0000 => 0x8100_0000_0000_0000,
            0x4000_0001 => HypercallPage | 1,
            _ => 0,
        };
        WriteIdentity(machine);
        return machine;
    }

    // mov ecx,0x40000000; xor eax,eax; mov edx,eax; wrmsr
    private static void WriteIdentity(KvmMachine machine)
    {
        machine.StartLong([0xB9, 0, 0, 0, 0x40, 0x31, 0xC0, 0x89, 0xC2, 0x0F, 0x30, .. Stop]);
        machine.RunToStop();
    }

    private static ulong Call(KvmMachine machine, ulong control, ulong input, ulong output)
    {
        Start(machine, control, input, output, privilege: 0);
        machine.RunToStop();
        return machine.Processor.GetState().Gpr[3];
    }

    // mov rcx,control; mov rdx,input; mov r8,output; mov edi,page; call rdi; mov rbx,rax
    private static void Start(KvmMachine machine, ulong control, ulong input, ulong output, int privilege) => machine.StartLong(
        [0x48, 0xB9, .. Bytes(control), 0x48, 0xBA, .. Bytes(input), 0x49, 0xB8, .. Bytes(output), 0xBF, 0, 0xA0, 0, 0, 0xFF, 0xD7, 0x48, 0x89, 0xC3, .. Stop],
        privilege);

    private static byte[] Bytes(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }
}
