using System.Diagnostics.CodeAnalysis;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;
using Vitro.Hypervisor.Tlfs;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The engine that runs guests on the host's processor through /dev/kvm.</summary>
public sealed class KvmEngine : IHypervisorEngine
{
    private readonly KvmAccelerations? _accelerations;
    private readonly Lazy<HostExamination> _examination = new(HostExamination.Run);

    /// <summary>The engine with all that the host's kernel can take over, but for what the environment leaves out.</summary>
    public KvmEngine()
    {
    }

    /// <summary>The engine with a choice of that.</summary>
    internal KvmEngine(KvmAccelerations accelerations) => _accelerations = accelerations;

    /// <inheritdoc/>
    public string Name => "kvm";

    /// <inheritdoc/>
    public IReadOnlyList<string> ProcessorModels { get; } = [.. CpuModel.All.Select(model => model.Name)];

    /// <inheritdoc/>
    /// <remarks>
    /// Where the host's kernel has no synthetic timers they would leave the guest for this process at every tick, and the local APIC's timer, which is in
    /// the kernel, is all that guests are told of. Where the host's own time stamp counter is not steady the guest is not told to rely on its one. Hypercalls take the
    /// place of what the guest would do by itself only where the host's kernel carries them out.
    /// </remarks>
    public HypervFeatures Features => new()
    {
        SyntheticTimers = HasKernelTimers,
        DirectTimers = HasKernelTimers,
        TscInvariant = HasSteadyTsc,
        ReferenceTscPage = HasSteadyTsc,
        ClusterIpi = FlushesTranslations,
        TlbFlush = FlushesTranslations,
    };

    /// <inheritdoc/>
    public bool FlushesTranslations => _examination.Value.HasKernelHypercalls && (_accelerations ?? KvmAccelerations.Choose()).KernelHypercalls;

    private bool HasKernelTimers => _examination.Value.HasKernelTimers && (_accelerations ?? KvmAccelerations.Choose()).KernelTimers;

    private bool HasSteadyTsc => _examination.Value.HasSteadyTsc;

    /// <inheritdoc/>
    public ulong? HostTscFrequency => _examination.Value.TscFrequency;

    /// <inheritdoc/>
    /// <remarks>Examined once.</remarks>
    public IReadOnlyList<EngineFinding> Findings => _examination.Value.Findings;

    /// <inheritdoc/>
    public EngineAvailability Probe() => _examination.Value.Availability;

    /// <inheritdoc/>
    public CpuidTable GetSupportedCpuid() => Offer(CpuModel.All[0]);

    /// <inheritdoc/>
    public bool TryGetProcessorModel(string name, [NotNullWhen(true)] out CpuidTable? cpuid)
    {
        var model = CpuModel.All.FirstOrDefault(model => model.Name == name);
        cpuid = model is null ? null : Offer(model);
        return cpuid is not null;
    }

    /// <inheritdoc/>
    public IPartition CreatePartition(PartitionOptions options)
    {
        if (options.VirtualProcessorCount is < 1 or > 64)
        {
            throw new HypervisorException("A partition has 1 to 64 virtual processors.");
        }

        if (options.InterruptControllers.Count < options.VirtualProcessorCount)
        {
            throw new HypervisorException("Every virtual processor needs an interrupt controller.");
        }

        using var device = Open();
        return new KvmPartition(device, options, _accelerations ?? KvmAccelerations.Choose());
    }

    private static CpuidTable Offer(CpuModel model)
    {
        using var device = Open();
        return HostCpuid.Intersect(model.Cpuid, HostCpuid.Read(device));
    }

    private static KvmFile Open() =>
        KvmFile.TryOpen(out var error) ?? throw new HypervisorException(HostExamination.ExplainOpen(error));
}
