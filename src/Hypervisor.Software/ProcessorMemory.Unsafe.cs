using Vitro.Hypervisor.Software.Translator;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software;

/// <summary>
/// The one piece of memory that holds what emitted code of a virtual processor finds at constant distances from its state: the jump
/// cache and the TLB's sets. What is used most lies together, to be in the same large pages of the host.
/// </summary>
internal static unsafe class ProcessorMemory
{
    /// <summary>Bytes from the state to the jump cache's tables.</summary>
    public const int JumpTables = 16 << 10;

    /// <summary>Bytes from the state to the first-level sets of the TLB.</summary>
    public const int TlbSets = JumpTables + JumpCache.TablesSize;

    /// <summary>Bytes from the state to the jump cache's second tables.</summary>
    public const int SecondJumpTables = TlbSets + (Mmu.SlotCount * TlbEntry.Size);

    /// <summary>Bytes from the state to the <see cref="Translator.CodeMappings"/>.</summary>
    public const int CodeMappings = SecondJumpTables + JumpCache.SecondTablesSize;

    /// <summary>Bytes from the state to what is known of the jump cache's slots in use.</summary>
    public const int JumpCacheUse = CodeMappings + Translator.CodeMappings.Size;

    // While translated code runs, the stack pointer is at the state: the host's signal frames lie below it.
    private const int Stack = 128 << 10;

    /// <summary>Allocates it, with an empty state and jump cache.</summary>
    public static VpState* Allocate()
    {
        var memory = (byte*)BackedMemory.AllocateLarge(Stack + JumpCacheUse + JumpCache.UsesSize);
        var state = (VpState*)(memory + Stack);
        *state = default;
        JumpCache.Reset(state);
        return state;
    }

    /// <summary>Frees what a state is in.</summary>
    public static void Free(VpState* state) => BackedMemory.Free((byte*)state - Stack);
}
