using Vitro.Hypervisor.Bus;

namespace Vitro.Chipset;

/// <summary>The ISA debug-exit port of test machines: a write of a code ends the worker with <c>code * 2 + 1</c>.</summary>
/// <remarks>Thread-safe; has no state.</remarks>
public sealed class DebugExitPort(IPowerEvents events) : IPortIo
{
    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size) => 0;

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value) => events.RequestDebugExit(value);
}
