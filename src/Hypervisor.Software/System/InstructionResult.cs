namespace Vitro.Hypervisor.Software;

/// <summary>How an instruction that the interpreter handed out ended.</summary>
internal enum InstructionResult
{
    /// <summary>Done; the caller moves RIP to the next instruction. Mode and TLB sets are as before.</summary>
    Next,

    /// <summary>Done, and RIP is set: leave the block, look the next one up anew (mode, CPL and TLB may have changed).</summary>
    Jump,

    /// <summary>An exception is recorded in <see cref="VpState.FaultVector"/>; RIP is still the instruction's.</summary>
    Fault,

    /// <summary>Done and RIP is set; leave to the run loop (halt, request).</summary>
    Leave,
}
