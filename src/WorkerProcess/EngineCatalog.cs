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
