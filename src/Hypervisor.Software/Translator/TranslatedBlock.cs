using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>A block translated to host code for one linear address and privilege. It lies in the code memory, in the writable view.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TranslatedBlock
{
    // Places in the code memory, by their distance from here in the writable view; 0 for null.
    private int _entry;
    private int _checked;
    private int _body;
    private int _adjoining;
    private int _leaving;
    private int _arriving;
    private int _next;
    private int _segmentNext;
    private int _taken;
    private int _fallThrough;
    private int _tail;
    private int _windows;

    /// <summary>The decoded block it was made of.</summary>
    public CodeBlock* Block;

    /// <summary>Linear address of its first instruction, part of the code.</summary>
    public ulong Linear;

    /// <summary>0 in the kernel, 1 at CPL 3: which jump cache its exits use.</summary>
    public uint Privilege;

    /// <summary>The arithmetic flags that are wanted at its start.</summary>
    public uint LiveFlags;

    /// <summary>What the jump cache holds: tests that RDI is <see cref="Linear"/>, then as <see cref="Checked"/>. Executable view, 8-byte aligned.</summary>
    public byte* Entry
    {
        readonly get => _entry == 0 ? null : At(_entry) + ToExecutable;
        set => _entry = DistanceTo(value - ToExecutable);
    }

    /// <summary>Tests for requests, then the body: for backward branches.</summary>
    public byte* Checked
    {
        readonly get => _checked == 0 ? null : At(_checked) + ToExecutable;
        set => _checked = DistanceTo(value - ToExecutable);
    }

    /// <summary>The first instruction.</summary>
    public byte* Body
    {
        readonly get => _body == 0 ? null : At(_body) + ToExecutable;
        set => _body = DistanceTo(value - ToExecutable);
    }

    /// <summary>Where the jump before it would lead, in the executable view, if it was written just behind one that leads here; else null.</summary>
    public byte* Adjoining
    {
        readonly get => _adjoining == 0 ? null : At(_adjoining) + ToExecutable;
        set => _adjoining = DistanceTo(value - ToExecutable);
    }

    /// <summary>No longer among its block's translations; nothing leads here any more.</summary>
    public bool IsRetired;

    /// <summary>Made without windows, for where those of another translation fail.</summary>
    public bool IsWindowless;

    /// <summary>The number of its page's mapping (<see cref="CodeMappings"/>); 0 when it has none and no branch of another page is linked to it.</summary>
    public uint Mapping;

    /// <summary>Its branches to other pages, and those of other pages that are linked to it.</summary>
    public FarLink* Leaving
    {
        readonly get => _leaving == 0 ? null : (FarLink*)At(_leaving);
        set => _leaving = value == null ? 0 : DistanceTo((byte*)value);
    }
    public FarLink* Arriving
    {
        readonly get => _arriving == 0 ? null : (FarLink*)At(_arriving);
        set => _arriving = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Next newer translation of the same block.</summary>
    public TranslatedBlock* Next
    {
        readonly get => _next == 0 ? null : (TranslatedBlock*)At(_next);
        set => _next = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Next translation in the same bucket of the index.</summary>
    public TranslatedBlock* IndexNext;

    /// <summary>The translation made before it in the same segment of code memory.</summary>
    public TranslatedBlock* SegmentNext
    {
        readonly get => _segmentNext == 0 ? null : (TranslatedBlock*)At(_segmentNext);
        set => _segmentNext = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Displacements of the branch taken and not taken in the writable view; null when there is none to link.</summary>
    public int* Taken
    {
        readonly get => _taken == 0 ? null : (int*)At(_taken);
        set => _taken = value == null ? 0 : DistanceTo((byte*)value);
    }
    public int* FallThrough
    {
        readonly get => _fallThrough == 0 ? null : (int*)At(_fallThrough);
        set => _fallThrough = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>The one of them that is the displacement of a jump at the code's end, and its target's linear address; else null.</summary>
    public int* Tail
    {
        readonly get => _tail == 0 ? null : (int*)At(_tail);
        set => _tail = value == null ? 0 : DistanceTo((byte*)value);
    }
    public ulong TailTarget;

    /// <summary>Their values while they lead to the dispatcher.</summary>
    public int TakenUnlinked;
    public int FallThroughUnlinked;

    /// <summary>Where failed windows lead.</summary>
    public WindowLink* Windows
    {
        readonly get => _windows == 0 ? null : (WindowLink*)At(_windows);
        set => _windows = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Distance from the writable to the executable view.</summary>
    public long ToExecutable;

    private readonly byte* At(int distance) => (byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) + distance;

    private readonly int DistanceTo(byte* place) => (int)(place - At(0));
}

/// <summary>A branch that is taken when the check of a window fails: to a record, or to a windowless translation once there is one.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WindowLink
{
    /// <summary>Its displacement, which is 0 while it leads to the record behind it.</summary>
    public int* Place;

    /// <summary>The block's link made before.</summary>
    public WindowLink* Next;
}

/// <summary>
/// A branch to another page, and the exit record with which it leaves while it is not linked or the processor does not have the target's page
/// as it was when it was linked.
/// </summary>
/// <remarks>
/// Once it has been linked it is always for the same mapping: a processor may have compared the number, and yet take the jump that another one changes.
/// </remarks>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct FarLink
{
    /// <summary>Bytes from the number that is compared to the displacement of the jump, both aligned.</summary>
    public const int JumpDistance = 12;

    /// <summary>As in <see cref="ExitRecord"/>.</summary>
    public int FromBlock;
    public ExitKind Kind;

    /// <summary>Non-zero when the jump cache is to be asked for the target rather than the dispatcher.</summary>
    public ushort IsSettled;

    /// <summary>The target's mapping; 0 before the first time.</summary>
    public uint Mapping;

    /// <summary>Linear address of the target.</summary>
    public ulong Target;

    /// <summary>In the writable view: the number that is compared, negative or 0 while not linked.</summary>
    public int* Place;

    /// <summary>The translation it is linked to, or null.</summary>
    public TranslatedBlock* To;

    /// <summary>Neighbours among <see cref="TranslatedBlock.Arriving"/>.</summary>
    public FarLink* NextArriving;
    public FarLink* PreviousArriving;

    /// <summary>The next of <see cref="TranslatedBlock.Leaving"/>.</summary>
    public FarLink* NextLeaving;

    /// <summary>The block that is left, of a link in the writable view.</summary>
    public readonly TranslatedBlock* Block => (TranslatedBlock*)((byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) - FromBlock);
}

/// <summary>An access whose page is not the remembered one; the code for an access that misses the TLB as well follows, with RDI the address.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SlotRecord
{
    /// <summary>From the stack pointer to the remembered page, and to where the right one is to be remembered.</summary>
    public long Slot;
    public long Target;

    /// <summary>The last offset in a page at which the access does not cross its end.</summary>
    public long Limit;

    /// <summary>From here to behind the check.</summary>
    public long Behind;
}

/// <summary>Why translated code was left; the record lies in the code, and RDI names it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ExitRecord
{
    /// <summary>Bytes from the block left to the record, both in one view; 0 for a jump whose target the jump cache does not know.</summary>
    public int FromBlock;
    public ExitKind Kind;

    /// <summary>Number of the instruction.</summary>
    public ushort Index;

    /// <summary>
    /// Bytes from the record to where execution goes on after the instruction; 0 when it does not. Of windows: to the <see cref="WindowLink"/>.
    /// </summary>
    public int Resume;

    /// <summary>The same to where the instruction is tried again, for misses.</summary>
    public int Retry;

    /// <summary>The block left, of a record in the executable view that is no such jump's.</summary>
    public readonly TranslatedBlock* Block
    {
        get
        {
            var executable = (byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) - FromBlock;
            return (TranslatedBlock*)(executable - ((TranslatedBlock*)executable)->ToExecutable);
        }
    }
}

/// <summary>Kinds of exits.</summary>
internal enum ExitKind : ushort
{
    /// <summary>RIP is in VpState.Parked.</summary>
    Jump,

    /// <summary>The instruction is to be interpreted.</summary>
    Interpret,

    /// <summary>
    /// The instruction needs vector registers that cannot be loaded: it is to be interpreted. The record's distance is where
    /// execution goes on had they been loaded.
    /// </summary>
    Vectors,

    /// <summary>The access at VpState.Parked is not in the TLB: to be filled in, or else the instruction interpreted.</summary>
    MissedLoad,
    MissedStore,

    /// <summary>The window at VpState.Parked is not in the TLB: to be filled in, or else the block goes on without windows.</summary>
    LoadWindow,
    StoreWindow,

    /// <summary>The direct branch that ends the block is taken, or not: its target is not linked yet.</summary>
    Taken,
    FallThrough,

    /// <summary>The record is a <see cref="FarLink"/> that is not linked yet.</summary>
    Far,

    /// <summary>Something is requested; RIP is the block's.</summary>
    Request,
}
