using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Engine;
using Vitro.Platform;
using Vitro.Hypervisor.Software.Translator;

namespace Vitro.Hypervisor.Software;

/// <summary>The engine that needs nothing of the host but an x86-64 processor: it executes guests by itself.</summary>
public sealed class SoftwareEngine : IHypervisorEngine
{
    /// <inheritdoc/>
    public string Name => "software";

    /// <inheritdoc/>
    public EngineAvailability Probe()
    {
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return new EngineAvailability(false, "The software engine needs an x86-64 host; this process runs on another architecture.");
        }

        // Vector and x87 instructions run as host code made at run time.
        return ExecutableMemory.Probe() is { } refusal
            ? new EngineAvailability(false, refusal)
            : new EngineAvailability(true, $"The software engine runs on every x86-64 host. {TranslatorFactory.Describe()}");
    }

    /// <inheritdoc/>
    public CpuidTable GetSupportedCpuid() => CpuModel.All[0].Cpuid.Clone();

    /// <inheritdoc/>
    public IReadOnlyList<string> ProcessorModels { get; } = [.. CpuModel.All.Select(model => model.Name)];

    /// <inheritdoc/>
    public bool TryGetProcessorModel(string name, [NotNullWhen(true)] out CpuidTable? cpuid)
    {
        cpuid = CpuModel.All.FirstOrDefault(model => model.Name == name)?.Cpuid.Clone();
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

        var available = Probe();
        return available.IsUsable
            ? new SoftwarePartition(options, TranslatorFactory.Choose())
            : throw new HypervisorException(available.Reason);
    }
}
