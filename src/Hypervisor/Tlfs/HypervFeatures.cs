namespace Vitro.Hypervisor.Tlfs;

/// <summary>Which optional parts of the hypervisor interface a partition has: what CPUID announces and what its MSRs accept.</summary>
public sealed record HypervFeatures
{
    /// <summary>The reference TSC page: the guest reads time without leaving its own code.</summary>
    public bool ReferenceTscPage { get; init; } = true;

    /// <summary>The frequency MSRs: the guest need not calibrate its TSC and local APIC timer.</summary>
    public bool FrequencyMsrs { get; init; } = true;

    /// <summary>
    /// The TSC invariant control: a Linux guest then trusts the TSC and keeps it as its clock source. Right only when the
    /// partition's TSC counts steadily and alike on all processors.
    /// </summary>
    public bool TscInvariant { get; init; } = true;

    /// <summary>Synthetic timers.</summary>
    public bool SyntheticTimers { get; init; } = true;

    /// <summary>Synthetic timers may interrupt without a message.</summary>
    public bool DirectTimers { get; init; } = true;

    /// <summary>The crash MSRs: the guest reports its panic and kernel log.</summary>
    public bool GuestCrash { get; init; } = true;

    /// <summary>Recommends the hypercalls that send an interprocessor interrupt to many processors at once.</summary>
    public bool ClusterIpi { get; init; }

    /// <summary>Recommends the hypercalls that flush translations of linear addresses on many processors at once.</summary>
    public bool TlbFlush { get; init; }

    /// <summary>Recommends the EOI, ICR and TPR MSRs; needs <see cref="HypervisorInterfaceOptions.Apic"/>.</summary>
    public bool ApicMsrs { get; init; }

    /// <summary>The most virtual processors a partition of this configuration may have.</summary>
    public int MaxVirtualProcessors { get; init; } = 64;
}
