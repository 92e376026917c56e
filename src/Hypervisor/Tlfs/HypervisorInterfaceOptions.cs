using Vitro.Hypervisor.Tlfs.Synic;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>What a <see cref="HypervisorInterface"/> is made of.</summary>
public sealed record HypervisorInterfaceOptions
{
    /// <summary>Number of virtual processors.</summary>
    public required int VirtualProcessorCount { get; init; }

    /// <summary>Where interrupts go.</summary>
    public required ISynicInterruptSink Interrupts { get; init; }

    /// <summary>Who hears of crashes and reset requests.</summary>
    public required IGuestNotifications Notifications { get; init; }

    /// <summary>Rate in Hz at which the local APIC timer counts with divider 1; guests take it for true without measuring.</summary>
    public required ulong ApicTimerFrequency { get; init; }

    /// <summary>The parts the interface has; CPUID must be made of the same.</summary>
    public HypervFeatures Features { get; init; } = new();

    /// <summary>The local APIC registers behind the EOI, ICR and TPR MSRs; null makes these MSRs fault.</summary>
    public ISyntheticApic? Apic { get; init; }
}
