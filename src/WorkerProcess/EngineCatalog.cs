using Vitro.Configuration;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Vitro.Hypervisor.Software;

namespace Vitro.WorkerProcess;

/// <summary>The engines of this build and the choice between them.</summary>
public static class EngineCatalog
{
    /// <summary>All engines, best first.</summary>
    public static IReadOnlyList<IHypervisorEngine> All { get; } = [new KvmEngine(), new SoftwareEngine()];

    /// <summary>Why the first engine cannot be used on this host; null when it can.</summary>
    public static string? WhyNotTheBest => All[0].Probe() is { IsUsable: false, Reason: var reason } ? reason : null;

    /// <summary>
    /// The rate in Hz that a new machine's time stamp counter should have so that it can go on under every engine of this host; null
    /// when any will do.
    /// </summary>
    public static ulong? HostTscFrequency =>
        All.Where(engine => engine.Probe().IsUsable).Select(engine => engine.HostTscFrequency).FirstOrDefault(rate => rate is not null);

    /// <summary>Takes out of a processor's table what an engine of this host lacks, so that the machine can go on under each of them.</summary>
    public static void Narrow(CpuidTable cpuid)
    {
        ArgumentNullException.ThrowIfNull(cpuid);
        foreach (var engine in All.Where(engine => engine.Probe().IsUsable))
        {
            ProcessorChoice.Within(CpuModel.All[0], engine.GetSupportedCpuid(), tscFrequency: null).ApplyTo(cpuid);
        }
    }

    /// <summary>The processor, as <c>--cpu</c> takes it, of a machine that is to begin elsewhere and go on under a usable engine of this host.</summary>
    public static string PortableProcessor(IHypervisorEngine engine)
    {
        ArgumentNullException.ThrowIfNull(engine);
        return ProcessorChoice.Within(CpuModel.All[0], engine.GetSupportedCpuid(), engine.HostTscFrequency).ToString();
    }

    /// <summary>Finds the engine for a choice.</summary>
    /// <exception cref="DefinitionException">This host cannot use it.</exception>
    public static IHypervisorEngine Select(EngineChoice choice)
    {
        var reasons = new List<string>();
        foreach (var engine in All)
        {
            if (choice != EngineChoice.Auto && !string.Equals(engine.Name, choice.ToString(), StringComparison.OrdinalIgnoreCase))
            {
                continue;
            }

            var availability = engine.Probe();
            if (availability.IsUsable)
            {
                return engine;
            }

            reasons.Add($"{engine.Name}: {availability.Reason}");
        }

        throw new DefinitionException("--engine", "this host can use none (" + string.Join("; ", reasons) + ")", "'vitro doctor' says what to do");
    }
}
