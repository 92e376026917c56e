using Vitro.Configuration;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs;

namespace Vitro.WorkerProcess.Saving;

/// <summary>What the guest of a saved machine has been told of its processor and hypervisor, which stays true wherever it goes on.</summary>
/// <param name="Cpuid">CPUID as it was.</param>
/// <param name="Features">The parts of the hypervisor interface that it announces.</param>
/// <param name="TscFrequency">Rate of the time stamp counter in Hz.</param>
internal sealed record GuestPromise(CpuidTable Cpuid, HypervFeatures Features, ulong TscFrequency)
{
    internal static GuestPromise Of(SavedMachine saved)
    {
        var cpuid = CpuidTable.Load(saved.ReadRecord(SavedMachineFormat.Record.Cpuid, 1));
        return new GuestPromise(cpuid, HypervCpuid.FeaturesOf(cpuid), saved.Saved.TscFrequency);
    }

    /// <exception cref="DefinitionException">The engine lacks something on this host; the message says what.</exception>
    internal void RequireKeptBy(IHypervisorEngine engine)
    {
        // The interface is the same for every engine; only a steady counter is an engine's to give. What an engine does not
        // offer by itself, because it has something better, works all the same.
        var supported = engine.GetSupportedCpuid();
        HypervCpuid.AddTo(supported, new HypervFeatures
        {
            TscInvariant = engine.Features.TscInvariant,
            ReferenceTscPage = engine.Features.ReferenceTscPage,
            ClusterIpi = true,
            TlbFlush = engine.FlushesTranslations,
            ApicMsrs = true,
        });
        if (CpuidPromise.Missing(Cpuid, supported) is { } missing)
        {
            throw new DefinitionException(
                "--engine",
                $"the guest was promised processor features that the {engine.Name} engine lacks on this host ({missing})",
                $"Restore it with the engine or on the host it comes from. Machines that begin with --cpu {EngineCatalog.PortableProcessor(engine)} go on here");
        }
    }
}
