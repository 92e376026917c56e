using Vitro.Configuration;
using Vitro.Foundation;
using Vitro.WorkerProcess;
using Vitro.WorkerProcess.Saving;

namespace Vitro.Cli.Run;

/// <summary>The saved machine that <c>vitro run --restore</c> goes on from.</summary>
internal sealed class RestoreChoice : IDisposable
{
    private readonly SavedMachine _saved;
    private readonly bool _acceptChangedDisks;

    private RestoreChoice(SavedMachine saved, bool acceptChangedDisks)
    {
        _saved = saved;
        _acceptChangedDisks = acceptChangedDisks;
    }

    internal static RestoreChoice Open(string path, bool acceptChangedDisks)
    {
        try
        {
            return new RestoreChoice(SavedMachine.Open(path), acceptChangedDisks);
        }
        catch (SavedStateException error)
        {
            throw new DefinitionException("--restore", $"{path} cannot be used. {error.Message}");
        }
    }

    /// <summary>The machine as it was, with what the command line may change.</summary>
    /// <param name="name">Another name; null keeps it.</param>
    /// <param name="engine">The engine to go on with.</param>
    /// <param name="disks">Where its disks are now; empty where they were.</param>
    internal VirtualMachineDefinition Define(string? name, EngineChoice engine, IReadOnlyList<DiskDefinition> disks)
    {
        var was = _saved.Definition;
        if (disks.Count != 0 && disks.Count != was.Disks.Count)
        {
            throw new DefinitionException(
                "--disk", $"the saved machine has {was.Disks.Count} disks and {disks.Count} are given", "Give all of them in their order, or none");
        }

        return was with
        {
            Name = name ?? was.Name,
            Engine = engine,
            Disks = disks.Count == 0 ? was.Disks : [.. disks.Zip(was.Disks, static (given, saved) => given with { ReadOnly = saved.ReadOnly })],
        };
    }

    internal VirtualMachine Build(VirtualMachineDefinition definition, VirtualMachineHost host) =>
        VirtualMachine.Restore(_saved, definition, host, _acceptChangedDisks);

    public void Dispose() => _saved.Dispose();
}
