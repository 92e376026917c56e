namespace Vitro.Hypervisor.Engine;

/// <summary>The whole architectural state of a virtual processor, the same for every engine.</summary>
/// <remarks>The local APIC, the SynIC and the synthetic timers are devices with states of their own.</remarks>
public sealed partial class VirtualProcessorState
{
    /// <summary>Layout version of this record.</summary>
    public const int Version = 1;

    /// <summary>The bits of DR6 that say why a debug exception came; engines look at no others of <see cref="PendingDebug"/>.</summary>
    public const ulong DebugReasons = 0xE00F;

    /// <summary>RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.</summary>
    public ulong[] Gpr { get; init; } = new ulong[16];

    /// <summary>Instruction pointer.</summary>
    public ulong Rip { get; set; }

    /// <summary>All of RFLAGS; bit 1 is always set.</summary>
    public ulong Rflags { get; set; } = 2;

    /// <summary>Code segment.</summary>
    public SegmentState Cs { get; set; }

    /// <summary>Stack segment.</summary>
    public SegmentState Ss { get; set; }

    /// <summary>Data segment.</summary>
    public SegmentState Ds { get; set; }

    /// <summary>Extra segment.</summary>
    public SegmentState Es { get; set; }

    /// <summary>FS; its base is MSR FS_BASE.</summary>
    public SegmentState Fs { get; set; }

    /// <summary>GS; its base is MSR GS_BASE.</summary>
    public SegmentState Gs { get; set; }

    /// <summary>Local descriptor table.</summary>
    public SegmentState Ldtr { get; set; }

    /// <summary>Task register.</summary>
    public SegmentState Tr { get; set; }

    /// <summary>Global descriptor table.</summary>
    public TableState Gdtr { get; set; }

    /// <summary>Interrupt descriptor table.</summary>
    public TableState Idtr { get; set; }

    /// <summary>CR0.</summary>
    public ulong Cr0 { get; set; }

    /// <summary>CR2.</summary>
    public ulong Cr2 { get; set; }

    /// <summary>CR3.</summary>
    public ulong Cr3 { get; set; }

    /// <summary>CR4.</summary>
    public ulong Cr4 { get; set; }

    /// <summary>EFER.</summary>
    public ulong Efer { get; set; }

    /// <summary>XCR0.</summary>
    public ulong Xcr0 { get; set; } = 1;

    /// <summary>DR0 to DR3, then DR6 and DR7 at indexes 6 and 7.</summary>
    public ulong[] Dr { get; init; } = new ulong[8];

    /// <summary>Model-specific registers the engine holds, by number (STAR, LSTAR, PAT, MTRRs, KERNEL_GS_BASE, TSC_AUX…).</summary>
    public Dictionary<uint, ulong> Msrs { get; init; } = [];

    /// <summary>Guest time stamp counter minus the partition's (<see cref="IPartition.ReadTsc"/>).</summary>
    public ulong TscOffset { get; set; }

    /// <summary>The x87, SSE and AVX state as a standard-format XSAVE image (512-byte legacy area, 64-byte header, YMM).</summary>
    public byte[] Xsave { get; init; } = InitialXsave();

    /// <summary>Running, halted, or waiting for a start-up IPI.</summary>
    public VpActivity Activity { get; set; }

    /// <summary>Interrupts are held off for one instruction (after STI or MOV SS).</summary>
    public bool InterruptShadow { get; set; }

    /// <summary>A non-maskable interrupt waits.</summary>
    public bool NmiPending { get; set; }

    /// <summary>Non-maskable interrupts are blocked until IRET.</summary>
    public bool NmiBlocked { get; set; }

    /// <summary>An INIT waits.</summary>
    public bool InitPending { get; set; }

    /// <summary>The vector of a start-up IPI that waits, behind the INIT when there is one; null for none.</summary>
    public byte? PendingStartup { get; set; }

    /// <summary>
    /// The vector of an interrupt that its controller counts as taken and that has not been delivered yet; it is delivered
    /// before the next instruction. Null for none.
    /// </summary>
    public byte? AcknowledgedInterrupt { get; set; }

    /// <summary>
    /// A debug trap of an instruction that is complete and whose handler has not been entered: the bits that it will set in DR6 (0 to 3, 13 to 15).
    /// It comes before the next instruction. 0 for none.
    /// </summary>
    public ulong PendingDebug { get; set; }

    /// <summary>A system management interrupt waits. Engines without system management mode take none.</summary>
    public bool SmiPending { get; set; }

    /// <summary>The processor is in system management mode; where it saves its state is MSR SMBASE (9Eh).</summary>
    public bool InSystemManagement { get; set; }

    /// <summary>It was in the handler of a non-maskable interrupt when it entered that mode.</summary>
    public bool SystemManagementInNmi { get; set; }

    // As after reset: FCW 37Fh, MXCSR 1F80h, all exceptions masked.
    private static byte[] InitialXsave()
    {
        var image = new byte[512 + 64 + 256];
        image[0] = 0x7F;
        image[1] = 0x03;
        image[24] = 0x80;
        image[25] = 0x1F;
        return image;
    }
}

/// <summary>What a virtual processor does.</summary>
public enum VpActivity
{
    /// <summary>Executes.</summary>
    Running,

    /// <summary>Halted until an interrupt.</summary>
    Halted,

    /// <summary>Waits for a start-up IPI after INIT.</summary>
    WaitForStartup,
}

/// <summary>A segment register with its hidden part.</summary>
/// <param name="Selector">Visible selector.</param>
/// <param name="Base">Base address.</param>
/// <param name="Limit">Limit in bytes, granularity applied.</param>
/// <param name="Attributes">
/// Access rights as in bits 8 to 23 of a descriptor's second word, shifted to bit 0: type 3:0, S 4, DPL 6:5, P 7, AVL 12,
/// L 13, D/B 14, G 15. Bit 16 marks an unusable (null) segment.
/// </param>
public readonly record struct SegmentState(ushort Selector, ulong Base, uint Limit, uint Attributes);

/// <summary>GDTR or IDTR.</summary>
public readonly record struct TableState(ulong Base, ushort Limit);
