using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software;

/// <summary>Makes the interpreter's parts for a partition.</summary>
internal sealed class InterpreterFactory : IExecutionFactory
{
    /// <inheritdoc/>
    public ICodePageObserver CreateCodePages(SoftwarePartition partition) => new CodeCache(partition);

    /// <inheritdoc/>
    public IExecutionCore CreateCore(SoftwareVirtualProcessor vp) => new InstructionInterpreter(vp, (CodeCache)vp.Partition.CodePages);
}
