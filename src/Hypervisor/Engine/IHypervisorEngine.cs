namespace Vitro.Hypervisor.Engine;

/// <summary>A way to run virtual processors on this host.</summary>
public interface IHypervisorEngine
{
    /// <summary>Short name as users type it: <c>software</c>, <c>kvm</c>.</summary>
    string Name { get; }

    /// <summary>Finds out whether the engine can serve on this host, and why not.</summary>
    EngineAvailability Probe();

    /// <summary>What <see cref="Probe"/> found, point by point, for people to read; empty when there is nothing to tell.</summary>
    IReadOnlyList<EngineFinding> Findings => [];

    /// <summary>
    /// The CPUID leaves and features this engine can present on this host at most; a machine's configuration chooses a
    /// subset of them.
    /// </summary>
    CpuidTable GetSupportedCpuid();

    /// <summary>Names of the processor models a machine may be given; the first is the default.</summary>
    IReadOnlyList<string> ProcessorModels { get; }

    /// <summary>The CPUID leaves of a processor model; false when the engine has none of that name.</summary>
    bool TryGetProcessorModel(string name, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out CpuidTable? cpuid);

    /// <summary>
    /// The optional parts of the Hyper-V interface that a new machine has on this engine: those that cost less here than
    /// what the guest would use instead. A machine that comes from another engine keeps the ones it has.
    /// </summary>
    Tlfs.HypervFeatures Features => new();

    /// <summary>
    /// Whether a guest's hypercalls that flush translations work here: a machine whose guest was told of them goes on under no other engine.
    /// </summary>
    bool FlushesTranslations => true;

    /// <summary>
    /// The rate in Hz that the time stamp counter has here when nobody scales it; null when the engine makes any rate. A machine
    /// that begins with it on another engine of this host can go on under this one. Only after <see cref="Probe"/> said yes.
    /// </summary>
    ulong? HostTscFrequency => null;

    /// <summary>Creates the partition.</summary>
    /// <exception cref="HypervisorException">The host refuses, or the options ask for what the engine lacks.</exception>
    IPartition CreatePartition(PartitionOptions options);
}

/// <summary>Whether an engine can serve.</summary>
/// <param name="IsUsable">It can.</param>
/// <param name="Reason">One sentence: what was found, and the cure where it is not usable.</param>
public sealed record EngineAvailability(bool IsUsable, string Reason);

/// <summary>One point of the examination of a host.</summary>
/// <param name="IsGood">The host has it.</param>
/// <param name="Subject">What was looked at, in a few words.</param>
/// <param name="Detail">What was found, and the cure where it is not good.</param>
public sealed record EngineFinding(bool IsGood, string Subject, string Detail);

/// <summary>An engine cannot do what it was asked; the message says what and the cure.</summary>
public sealed class HypervisorException(string message) : Exception(message);

/// <summary>What a partition is made of.</summary>
public sealed record PartitionOptions
{
    /// <summary>Guest physical address space.</summary>
    public required Vid.GpaSpace Gpa { get; init; }

    /// <summary>Number of virtual processors, 1 to 64; APIC ids are their indexes.</summary>
    public required int VirtualProcessorCount { get; init; }

    /// <summary>CPUID as the guest sees it, apart from what depends on processor state (APIC id, OSXSAVE).</summary>
    public required CpuidTable Cpuid { get; init; }

    /// <summary>The machine's clock.</summary>
    public required Foundation.VmClock Clock { get; init; }

    /// <summary>
    /// The rate in Hz that the guest's time stamp counter has had so far; null lets the engine choose. An engine that cannot
    /// give it that rate chooses, too: <see cref="IPartition.TscFrequency"/> tells.
    /// </summary>
    public ulong? TscFrequency { get; init; }

    /// <summary>Where intercepts go.</summary>
    public required IInterceptHandler Intercepts { get; init; }

    /// <summary>
    /// The local interrupt controller of each virtual processor, by index. An engine with local APICs of its own takes
    /// only the external interrupts of the 8259 pair from them.
    /// </summary>
    public required IReadOnlyList<ILocalInterruptController> InterruptControllers { get; init; }
}
