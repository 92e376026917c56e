namespace Vitro.Hypervisor.Software;

/// <summary>What executes the instructions of one virtual processor; the run loop calls it on the processor's thread.</summary>
internal interface IExecutionCore
{
    /// <summary>Whether <see cref="VpState.InstructionCount"/> is kept.</summary>
    bool CountsInstructions { get; }

    /// <summary>
    /// Executes until <see cref="VpState.Requests"/> is not zero at a block's end, or an instruction or a delivered fault
    /// says <see cref="InstructionResult.Leave"/>. RIP is exact on return, and so is the instruction count if it is kept.
    /// </summary>
    void Run(SoftwareVirtualProcessor vp);

    /// <summary>Executes exactly one instruction (or delivers its fault), whatever is requested.</summary>
    void Step(SoftwareVirtualProcessor vp);

    /// <summary>The processor has just overwritten code of a block, perhaps the present one.</summary>
    void OnCodeModified();

    /// <summary>The processor stored into code while it holds the memory for itself; its blocks go when the instruction is done.</summary>
    void DeferCodeStore(ulong gpa, int length);
}

/// <summary>Makes the executing parts of a partition.</summary>
internal interface IExecutionFactory
{
    /// <summary>The block cache that the partition's processors share.</summary>
    ICodePageObserver CreateCodePages(SoftwarePartition partition);

    /// <summary>The core of one processor.</summary>
    IExecutionCore CreateCore(SoftwareVirtualProcessor vp);
}
