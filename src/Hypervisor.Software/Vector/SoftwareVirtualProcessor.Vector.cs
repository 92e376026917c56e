using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software;

/// <content>Vector and x87 instructions.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private VectorUnit? _vector;

    /// <summary>Executes an instruction of the range from <see cref="Operation.FirstVector"/>; RIP is its start.</summary>
    internal InstructionResult ExecuteVector(DecodedInstruction* instruction) =>
        (_vector ??= new VectorUnit(State, Mmu)).Execute(instruction);
}
