using Vitro.Hypervisor.Engine;
using System.Runtime.InteropServices;

namespace Vitro.Hypervisor.Software;

/// <summary>
/// The state of one virtual processor in unmanaged memory, shared by the interpreter, the translator's emitted code and
/// the host thunks.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct VpState
{
    /// <summary>How many windows a block may have open at once.</summary>
    public const int WindowCount = 8;

    /// <summary>How many pages translated programs remember beside the TLB.</summary>
    public const int PageSlotCount = 24;

    /// <summary>RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.</summary>
    public fixed ulong Gpr[16];

    /// <summary>The current instruction's address (offset in CS); a fault leaves it there, completion moves it on.</summary>
    public ulong Rip;

    /// <summary>Always zero: what addresses without a base or an index read (it follows <see cref="Rip"/>, as the decoder's register numbers expect).</summary>
    public ulong Zero;

    /// <summary>
    /// Lazy arithmetic flags: the operation that last set them (LazyFlags.Add…) and its result and operands, all sign-extended
    /// to 64 bits whatever their size. Read and write them through LazyFlags only.
    /// </summary>
    public ulong FlagResult;
    public ulong FlagLeft;
    public ulong FlagRight;
    public uint FlagOperation;

    /// <summary>RFLAGS but for CF, PF, AF, ZF, SF, OF: TF, IF, DF, IOPL, NT, RF, VM, AC, ID and the constant bit 1.</summary>
    public uint SystemFlags;

    /// <summary>Asynchronous requests (VpRequest bits); other threads set bits with an interlocked OR.</summary>
    public uint Requests;

    /// <summary>Requests that wait for the guest to unmask them (RFLAGS.IF, IRET after an NMI): it moves them back into <see cref="Requests"/>.</summary>
    public uint DeferredRequests;

    /// <summary>The TLB sets of the present privilege and SMAP state: data loads, data stores.</summary>
    public TlbEntry* LoadTlb;
    public TlbEntry* StoreTlb;

    /// <summary>Instructions completed, kept at block granularity; those of translated code only when that is asked for.</summary>
    public ulong InstructionCount;

    /// <summary>The translated code's own: a value parked inside an instruction, and flags (LAHF in AH, OF in AL) and RAX parked by it.</summary>
    public ulong Parked;
    public ulong ParkedFlags;
    public ulong ParkedRax;

    /// <summary>The translated code's own: where in the host its windows lie, while a block lasts.</summary>
    public fixed ulong Windows[WindowCount];

    /// <summary>The TLB set of the present privilege for instruction fetches.</summary>
    public TlbEntry* FetchTlb;

    /// <summary>The exit record through which translated code was left.</summary>
    public ulong ExitRecord;

    /// <summary>The host's stack pointer while translated code runs.</summary>
    public ulong HostStack;

    /// <summary>Current privilege level, 0 to 3.</summary>
    public uint Cpl;

    /// <summary>What decoding and execution depend on (VpMode bits), kept by the code that changes CR0, CR4, EFER, CS, SS, RFLAGS.VM.</summary>
    public uint Mode;

    /// <summary>Vector of the exception the current instruction raised, or -1.</summary>
    public int FaultVector;
    public uint FaultErrorCode;

    /// <summary>Non-zero when the exception pushes <see cref="FaultErrorCode"/>.</summary>
    public uint FaultHasErrorCode;

    /// <summary>Linear address of a page fault; becomes CR2 at delivery.</summary>
    public ulong FaultAddress;

    /// <summary>Non-zero: interrupts and single-step traps wait for the next instruction to complete (STI, MOV SS).</summary>
    public uint InterruptShadow;

    /// <summary>VpActivity as in the contract.</summary>
    public uint Activity;

    /// <summary>ES, CS, SS, DS, FS, GS, LDTR, TR: the order of their numbers in instructions.</summary>
    public SegmentCache Es;
    public SegmentCache Cs;
    public SegmentCache Ss;
    public SegmentCache Ds;
    public SegmentCache Fs;
    public SegmentCache Gs;
    public SegmentCache Ldtr;
    public SegmentCache Tr;

    public ulong GdtBase;
    public ulong IdtBase;
    public uint GdtLimit;
    public uint IdtLimit;

    public ulong Cr0;
    public ulong Cr2;
    public ulong Cr3;
    public ulong Cr4;
    public ulong Efer;
    public ulong Xcr0;
    public fixed ulong Dr[8];

    public ulong Star;
    public ulong Lstar;
    public ulong Cstar;
    public ulong SyscallMask;
    public ulong KernelGsBase;
    public ulong SysenterCs;
    public ulong SysenterEsp;
    public ulong SysenterEip;
    public ulong TscAux;
    public ulong TscOffset;
    public ulong Pat;

    /// <summary>The data sets of the kernel, and those while RFLAGS.AC suspends CR4.SMAP.</summary>
    public TlbEntry* KernelLoadTlb;
    public TlbEntry* KernelStoreTlb;
    public TlbEntry* SuspendedLoadTlb;
    public TlbEntry* SuspendedStoreTlb;

    /// <summary>The sets of programs, the data sets those without alignment checks, and the kernel's for fetches.</summary>
    public TlbEntry* UserLoadTlb;
    public TlbEntry* UserStoreTlb;
    public TlbEntry* UserFetchTlb;
    public TlbEntry* KernelFetchTlb;

    /// <summary>The mode of the blocks in each privilege's jump cache: nothing in it says which mode code is of, so all in one table is of one.</summary>
    public fixed uint TableModes[2];

    /// <summary>
    /// Non-zero while the guest's time is the host's CLOCK_MONOTONIC less <see cref="HostClockOrigin"/>, in nanoseconds: what translated RDTSC
    /// makes the counter of, as <see cref="SoftwarePartition.ReadTsc"/> does.
    /// </summary>
    public uint HasHostClock;
    public ulong HostClockOrigin;
    public ulong TscFrequency;
    public ulong TscBase;

    /// <summary>Non-zero while NMIs wait for IRET.</summary>
    public uint NmiBlocked;

    /// <summary>Index in the partition.</summary>
    public int Index;

    /// <summary>The XSAVE image in standard format (legacy area, header, YMM), 64-byte aligned, of the vector and x87 state.</summary>
    public byte* Xsave;

    /// <summary>
    /// Zero while translated code has the XMM registers and MXCSR in the host's registers; in C# always 1: the image is what counts.
    /// </summary>
    public uint VectorsAbsent;

    /// <summary>Zero while the YMM registers are in the host's and the guest has AVX enabled; else 1.</summary>
    public uint AvxAbsent;

    /// <summary>Zero while translated code has the x87 registers in the host's; in C# always 1.</summary>
    public uint X87Absent;

    /// <summary>Meanwhile the last x87 instruction's opcode, address and operand, which the host would tell of its own code.</summary>
    public uint X87Opcode;
    public ulong X87Instruction;
    public ulong X87Data;

    /// <summary>What the guest's CPUID offers and the host can execute.</summary>
    public CpuFeatures Features;

    /// <summary>Zero when the upper halves of all YMM registers in the image are known to be zero.</summary>
    public uint UppersInUse;

    /// <summary>
    /// Copies of entries of the user's TLB sets, pairs of tag and host as they are there, which translated programs look at first where
    /// an access is likely to stay in a page. Whatever empties an entry of the TLB empties all of these.
    /// </summary>
    public fixed ulong PageSlots[2 * PageSlotCount];

    /// <summary>Registers that the stub which fills a slot uses meanwhile, and where it goes on.</summary>
    public ulong SlotRax;
    public ulong SlotRdx;
    public ulong SlotReturn;
}

/// <summary>A segment register's hidden part.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SegmentCache
{
    public ulong Base;
    public uint Limit;

    /// <summary>As in <see cref="Vitro.Hypervisor.Engine.SegmentState.Attributes"/>.</summary>
    public uint Attributes;
    public uint Selector;
    private readonly uint _padding;
}

/// <summary>
/// A translation of one 4 KiB page for one kind of access. <c>linear - Tag</c> is the offset in the page exactly when it
/// hits, so that one unsigned compare with <c>4096 - size</c> finds both misses and page crossings.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    /// <summary>Linear address of the page; a non-canonical value when empty.</summary>
    public ulong Tag;

    /// <summary>Host address of the page.</summary>
    public ulong Host;

    /// <summary>Bytes of an entry.</summary>
    public const int Size = 16;

    /// <summary>Entries a set, a power of two; the index is bits 12 and up of the linear address.</summary>
    public const int SetSize = 8192;

    /// <summary>The tag of an empty entry: no linear address is within a page of it.</summary>
    public const ulong EmptyTag = 0x8000_0000_0000_0000;
}

/// <summary>Bits of <see cref="VpState.Requests"/>.</summary>
[Flags]
internal enum VpRequest : uint
{
    None = 0,
    Interrupt = 1,
    Nmi = 2,
    Init = 4,
    Startup = 8,
    Cancel = 16,

    /// <summary>Drop all cached translations of linear addresses; the requester waits for the acknowledgement.</summary>
    FlushTlb = 32,

    /// <summary>Another processor needs the memory for itself for a moment.</summary>
    Pause = 64,

    /// <summary>A debug trap waits, of an instruction that another engine executed.</summary>
    DebugTrap = 128,
}

/// <summary>Bits of <see cref="VpState.Mode"/>: all that decoding and block lookup depend on.</summary>
[Flags]
internal enum VpMode : uint
{
    None = 0,

    /// <summary>64-bit code segment in long mode.</summary>
    Code64 = 1,

    /// <summary>Default operand and address size 32 (CS.D) outside 64-bit code.</summary>
    Code32 = 2,

    /// <summary>CR0.PE.</summary>
    Protected = 4,

    /// <summary>RFLAGS.VM.</summary>
    Virtual8086 = 8,

    /// <summary>EFER.LMA.</summary>
    LongMode = 16,

    /// <summary>SS.B: stack pushes use ESP rather than SP (outside 64-bit code).</summary>
    Stack32 = 32,

    /// <summary>CR0.PG.</summary>
    Paging = 64,

    /// <summary>CPL 3.</summary>
    User = 128,

    /// <summary>All of CS, DS, ES, SS have base 0 and limit 4 GiB, or the code is 64-bit: no segment checks needed.</summary>
    FlatSegments = 256,

    /// <summary>RFLAGS.TF or an enabled breakpoint in DR7: blocks are one instruction long and checked.</summary>
    Stepping = 512,

    /// <summary>x87 and vector instructions raise #NM or #UD before anything else (CR0.EM, CR0.TS, CR4.OSFXSR).</summary>
    FpuTrap = 1024,

    /// <summary>A program's accesses are to be aligned (CR0.AM and RFLAGS.AC at CPL 3): translated code does not look.</summary>
    AlignmentChecks = 2048,
}
