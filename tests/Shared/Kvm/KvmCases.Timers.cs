using Vitro.Hypervisor.Kvm;
using Vitro.Tests;

namespace Vitro.KvmTests;

// The reference time and the synthetic timers of the host's kernel.
internal static partial class KvmCases
{
    private const byte TimerVector = 0x41;
    private const ulong DirectTimer = 0x1 | 0x8 | 0x1000 | ((ulong)TimerVector << 4);

    // mov ecx,0x40000020; rdmsr; shl rdx,32; or rax,rdx
    private static ReadOnlySpan<byte> ReadReference => [0xB9, 0x20, 0, 0, 0x40, 0x0F, 0x32, 0x48, 0xC1, 0xE2, 0x20, 0x48, 0x09, 0xD0];

    // add rax,10000; mov rdx,rax; shr rdx,32; mov ecx,0x400000B1; wrmsr
    private static ReadOnlySpan<byte> ArmInAMillisecond =>
        [0x48, 0x05, 0x10, 0x27, 0, 0, 0x48, 0x89, 0xC2, 0x48, 0xC1, 0xEA, 0x20, 0xB9, 0xB1, 0, 0, 0x40, 0x0F, 0x30];

    private static void KernelTimers()
    {
        using var machine = new KvmMachine(isHyperv: true);
        var timers = machine.Partition.Timers ?? throw new CheckFailedException("The kernel has no timers.");

        // The time, which goes on from where it is set, without leaving the guest.
        timers.SetReferenceTime(1_000_000_000);
        machine.StartLong([.. ReadReference, .. Stop]);
        machine.RunToStop();
        var guest = machine.Processor.GetState().Gpr[0];
        Check.That(guest >= 1_000_000_000 && guest <= timers.ReferenceTime, $"1000000000 <= {guest} <= {timers.ReferenceTime}");
        CheckLog(machine);

        // A timer that the guest arms, without leaving the guest; it is a one-shot.
        EnableLocalApic(machine, 0);
        machine.SetGate(TimerVector, 0x9000, [0xE6, 0x41, .. Stop]);
        timers.HoldTimers(true);
        timers.WriteTimerConfig(0, 0, DirectTimer);
        machine.StartLong([.. ReadReference, .. ArmInAMillisecond, 0xFB, 0x90, 0xF4, .. Stop]);
        machine.Log.Clear();
        machine.RunToStop();
        Check.Equal(1, machine.Log.Count);
        Check.That(machine.Log[0].StartsWith("out 41", StringComparison.Ordinal), "the timer's handler ran");
        Check.Equal(DirectTimer & ~1UL, timers.ReadTimer(0, 0).Config);

        // Given back, its count leaves the guest; the configuration always does.
        timers.HoldTimers(false);
        machine.StartLong([.. ReadReference, .. ArmInAMillisecond, .. Stop]);
        machine.Log.Clear();
        machine.RunToStop();
        Check.That(machine.Log is [var count] && count.StartsWith("wrmsr 400000b1", StringComparison.Ordinal), "the count left the guest");

        using var without = new KvmMachine(accelerations: new KvmAccelerations { KernelTimers = false }, isHyperv: true);
        Check.That(without.Partition.Timers is null, "without the kernel's timers there are none");
    }
}
