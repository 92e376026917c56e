using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Kvm;

/// <summary>
/// Work that the host's kernel may take over where it can. A machine without one of them does the same, slower: each can be
/// left out to compare.
/// </summary>
internal sealed record KvmAccelerations
{
    /// <summary>The environment variable that leaves some out: their names, separated by commas.</summary>
    internal const string Variable = "VITRO_KVM_WITHOUT";

    private const string CoalescedWritesName = "coalesced-writes";
    private const string DirtyRingName = "dirty-ring";
    private const string KernelHypercallsName = "kernel-hypercalls";
    private const string IrqFdName = "irqfd";
    private const string KernelTimersName = "kernel-timers";

    /// <summary>Writes to ports that need no answer are gathered in the kernel until the guest leaves for another reason.</summary>
    internal bool CoalescedWrites { get; init; } = true;

    /// <summary>Written pages are noted in a ring of each processor instead of a bitmap of each region.</summary>
    internal bool DirtyRing { get; init; } = true;

    /// <summary>The kernel takes hypercalls and carries out itself those that it can: signals, flushes of address translations, interrupts.</summary>
    internal bool KernelHypercalls { get; init; } = true;

    /// <summary>An interrupt message that is sent often is given by adding to an event counter.</summary>
    internal bool IrqFd { get; init; } = true;

    /// <summary>The kernel keeps the reference time and the synthetic timers in direct mode.</summary>
    internal bool KernelTimers { get; init; } = true;

    /// <summary>What the environment leaves.</summary>
    internal static KvmAccelerations Choose() => Choose(Environment.GetEnvironmentVariable(Variable));

    /// <summary>The same for a setting's value, null when there is none.</summary>
    /// <exception cref="HypervisorException">It names something that does not exist.</exception>
    internal static KvmAccelerations Choose(string? setting)
    {
        var chosen = new KvmAccelerations();
        foreach (var name in (setting ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            chosen = name switch
            {
                CoalescedWritesName => chosen with { CoalescedWrites = false },
                DirtyRingName => chosen with { DirtyRing = false },
                KernelHypercallsName => chosen with { KernelHypercalls = false },
                IrqFdName => chosen with { IrqFd = false },
                KernelTimersName => chosen with { KernelTimers = false },
                _ => throw new HypervisorException($"{Variable} names '{name}': use {CoalescedWritesName}, {DirtyRingName}, {KernelHypercallsName}, {IrqFdName} or {KernelTimersName}, or several with commas between."),
            };
        }

        return chosen;
    }
}
