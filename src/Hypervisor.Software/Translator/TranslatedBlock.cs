using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>A block translated to host code for one linear address and privilege. It lies in the code memory, in the writable view.</summary>
/// <remarks>It begins as an <see cref="ExitRecord"/>: that of a request, which is seen before its first instruction.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct TranslatedBlock
{
    private ushort _fromBlock;
    private ushort _kindAndOffset;

    /// <summary>The number of its page's mapping (<see cref="CodeMappings"/>); 0 when it has none and no branch of another page is linked to it.</summary>
    public uint Mapping;

    /// <summary>The block it was made of.</summary>
    public CodeBlock* Block;

    /// <summary>Linear address of its first instruction, part of the code.</summary>
    public ulong Linear;

    /// <summary>Distance from the writable to the executable view.</summary>
    public long ToExecutable;

    // Places in the code memory, by their distance from here in the writable view; 0 for null.
    private int _entry;
    private int _checked;
    private int _body;
    private int _leaving;
    private int _arriving;
    private int _next;
    private int _indexNext;
    private int _segmentNext;
    private int _taken;
    private int _fallThrough;
    private int _windows;

    // Nearer ones.
    private ushort _takenExit;
    private ushort _fallThroughExit;

    private ushort _tailInPage;
    private ushort _liveFlags;
    private Traits _traits;

    [Flags]
    private enum Traits : byte
    {
        None = 0,
        User = 1,
        Retired = 2,
        Windowless = 4,
        Adjoining = 8,
        AdjoiningChecked = 16,
        TailIsTaken = 32,
        TailIsFallThrough = 64,
        Calls = 128,
    }

    /// <summary>0 in the kernel, 1 at CPL 3: which jump cache its exits use.</summary>
    public readonly uint Privilege => (uint)(_traits & Traits.User);

    /// <summary>The arithmetic flags that are wanted at its start.</summary>
    public uint LiveFlags
    {
        readonly get => _liveFlags;
        set => _liveFlags = (ushort)value;
    }

    /// <summary>
    /// What the jump cache holds: tests that RDI is <see cref="Linear"/>, then as <see cref="Checked"/>. Executable view, 8-byte aligned; null while
    /// nothing has come that way.
    /// </summary>
    public byte* Entry
    {
        readonly get => _entry == 0 ? null : At(_entry) + ToExecutable;
        set => Volatile.Write(ref _entry, DistanceTo(value - ToExecutable));
    }

    /// <summary>Tests for requests, then the body: for backward branches. Null while none has come.</summary>
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
    public readonly byte* Adjoining =>
        (_traits & Traits.Adjoining) == 0 ? null : (_traits & Traits.AdjoiningChecked) != 0 ? Checked : Body;

    /// <summary>No longer among its block's translations; nothing leads here any more.</summary>
    public readonly bool IsRetired => (_traits & Traits.Retired) != 0;

    /// <summary>Made without windows, for where those of another translation fail.</summary>
    public readonly bool IsWindowless => (_traits & Traits.Windowless) != 0;

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

    /// <summary>Next translation in the same bucket of the index. Read by any thread, without the lock.</summary>
    public TranslatedBlock* IndexNext
    {
        readonly get => _indexNext == 0 ? null : (TranslatedBlock*)At(_indexNext);
        set => Volatile.Write(ref _indexNext, value == null ? 0 : DistanceTo((byte*)value));
    }

    /// <summary>The translation made before it in the same segment of code memory.</summary>
    public TranslatedBlock* SegmentNext
    {
        readonly get => _segmentNext == 0 ? null : (TranslatedBlock*)At(_segmentNext);
        set => _segmentNext = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Displacements of the branch taken and not taken in the writable view; null when there is none to link.</summary>
    public readonly int* Taken => _taken == 0 ? null : (int*)At(_taken);
    public readonly int* FallThrough => _fallThrough == 0 ? null : (int*)At(_fallThrough);

    /// <summary>Linear addresses of their targets.</summary>
    public readonly ulong TakenTarget => TargetOf(_takenExit);
    public readonly ulong FallThroughTarget => TargetOf(_fallThroughExit);

    /// <summary>Linear address behind the call that it ends with, in its page; 0 when it ends otherwise.</summary>
    public readonly ulong ReturnSite
    {
        get
        {
            var site = Linear + Block->Length;
            return (_traits & Traits.Calls) != 0 && ((site ^ Linear) & ~0xFFFUL) == 0 ? site : 0;
        }
    }

    /// <summary>Their values while they lead to the dispatcher.</summary>
    public readonly int TakenUnlinked => (int)(At(_takenExit) - ((byte*)Taken + 4));
    public readonly int FallThroughUnlinked => (int)(At(_fallThroughExit) - ((byte*)FallThrough + 4));

    /// <summary>The one of them that is the displacement of a jump at the code's end, and its target's linear address; else null.</summary>
    public readonly int* Tail =>
        (_traits & Traits.TailIsTaken) != 0 ? Taken : (_traits & Traits.TailIsFallThrough) != 0 ? FallThrough : null;
    public readonly ulong TailTarget => (Linear & ~0xFFFUL) | _tailInPage;

    /// <summary>Where failed windows lead.</summary>
    public WindowLink* Windows
    {
        readonly get => _windows == 0 ? null : (WindowLink*)At(_windows);
        set => _windows = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Begins a translation, in memory of whatever content.</summary>
    public static void Begin(TranslatedBlock* place, CodeBlock* block, ulong linear, uint privilege, bool isWindowless, long toExecutable)
    {
        *place = default;
        place->_kindAndOffset = ExitRecord.With(ExitKind.Request, 0);
        place->Block = block;
        place->Linear = linear;
        place->ToExecutable = toExecutable;
        place->_traits = (privilege != 0 ? Traits.User : Traits.None) | (isWindowless ? Traits.Windowless : Traits.None);
    }

    /// <summary>Says that it begins where the code written before it ends: with its test for requests, or with its body.</summary>
    public void SetAdjoining(bool isChecked) => _traits |= isChecked ? Traits.Adjoining | Traits.AdjoiningChecked : Traits.Adjoining;

    /// <summary>Says where the displacement of its branch is, and the exit it leads to before it is linked, both in the writable view.</summary>
    public void SetTaken(int* place, byte* exit)
    {
        _taken = DistanceTo((byte*)place);
        _takenExit = (ushort)DistanceTo(exit);
    }

    /// <summary>The same for the branch not taken, or the block's end.</summary>
    public void SetFallThrough(int* place, byte* exit)
    {
        _fallThrough = DistanceTo((byte*)place);
        _fallThroughExit = (ushort)DistanceTo(exit);
    }

    /// <summary>Says which of them, if any, is the <see cref="Tail"/>, and its target, which lies in the same page.</summary>
    public void SetTail(int* place, ulong target)
    {
        _tailInPage = (ushort)(target & 0xFFF);
        _traits |= place == Taken ? Traits.TailIsTaken : place == FallThrough ? Traits.TailIsFallThrough : Traits.None;
    }

    /// <summary>Says that it ends with a call.</summary>
    public void SetCalls() => _traits |= Traits.Calls;

    /// <summary>It is given up.</summary>
    public void Retire() => _traits |= Traits.Retired;

    // The exit is a call, and its record says how far it is.
    private readonly ulong TargetOf(int exit) => Linear + (ulong)((ExitRecord*)(At(exit) + ExitRecord.CallSize))->Resume;

    private readonly byte* At(int distance) => (byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) + distance;

    private readonly int DistanceTo(byte* place) => (int)(place - At(0));
}

/// <summary>How a translation is arrived at, which decides what is in front of its first instruction.</summary>
internal enum Arrival : byte
{
    /// <summary>By direct branches forward: nothing is.</summary>
    Forward,

    /// <summary>By direct branches backward, as loops have them: it looks for requests.</summary>
    Backward,

    /// <summary>Through the jump cache: it looks whether the address is its own, and for requests.</summary>
    Indirect,
}

/// <summary>A branch that is taken when the check of a window fails: to a record, or to a windowless translation once there is one.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WindowLink
{
    // By their distance from here; 0 for null.
    private int _place;
    private int _next;

    /// <summary>Its displacement, which is 0 while it leads to the record behind it.</summary>
    public readonly int* Place => (int*)At(_place);

    /// <summary>The block's link made before.</summary>
    public readonly WindowLink* Next => _next == 0 ? null : (WindowLink*)At(_next);

    /// <summary>Begins one, in memory of whatever content.</summary>
    public static void Begin(WindowLink* link, int* place, WindowLink* next)
    {
        link->_place = (int)((byte*)place - (byte*)link);
        link->_next = next == null ? 0 : (int)((byte*)next - (byte*)link);
    }

    private readonly byte* At(int distance) => (byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) + distance;
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

    /// <summary>Bytes from the link to <see cref="IsSettled"/> and <see cref="Target"/>, for emitted code.</summary>
    public const int SettledPlace = 36;
    public const int TargetPlace = 8;

    // As in an exit record.
    private ushort _fromBlock;
    private ushort _kindAndOffset;

    /// <summary>The target's mapping; 0 before the first time.</summary>
    public uint Mapping;

    /// <summary>Linear address of the target.</summary>
    public ulong Target;

    // By their distance from here in the writable view; 0 for null.
    private int _place;
    private int _to;
    private int _nextArriving;
    private int _previousArriving;
    private int _nextLeaving;

    /// <summary>Non-zero when the jump cache is to be asked for the target rather than the dispatcher.</summary>
    public ushort IsSettled;

    /// <summary>In the writable view: the number that is compared, negative or 0 while not linked.</summary>
    public int* Place
    {
        readonly get => (int*)At(_place);
        set => _place = DistanceTo((byte*)value);
    }

    /// <summary>The translation it is linked to, or null.</summary>
    public TranslatedBlock* To
    {
        readonly get => _to == 0 ? null : (TranslatedBlock*)At(_to);
        set => _to = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>Neighbours among <see cref="TranslatedBlock.Arriving"/>.</summary>
    public FarLink* NextArriving
    {
        readonly get => _nextArriving == 0 ? null : (FarLink*)At(_nextArriving);
        set => _nextArriving = value == null ? 0 : DistanceTo((byte*)value);
    }
    public FarLink* PreviousArriving
    {
        readonly get => _previousArriving == 0 ? null : (FarLink*)At(_previousArriving);
        set => _previousArriving = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>The next of <see cref="TranslatedBlock.Leaving"/>.</summary>
    public FarLink* NextLeaving
    {
        readonly get => _nextLeaving == 0 ? null : (FarLink*)At(_nextLeaving);
        set => _nextLeaving = value == null ? 0 : DistanceTo((byte*)value);
    }

    /// <summary>The block that is left, of a link in the writable view.</summary>
    public readonly TranslatedBlock* Block => (TranslatedBlock*)At(-_fromBlock);

    private readonly byte* At(int distance) => (byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) + distance;

    private readonly int DistanceTo(byte* place) => (int)(place - At(0));
}

/// <summary>An access whose page is not the remembered one; the code for an access that misses the TLB as well follows, with RDI the address.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SlotRecord
{
    /// <summary>Bytes from here to the other fields, for emitted code.</summary>
    public const int SlotPlace = 4;
    public const int LimitPlace = 6;

    /// <summary>From here to behind the check.</summary>
    public int Behind;

    /// <summary>From the stack pointer to the remembered page.</summary>
    public ushort Slot;

    /// <summary>The last offset in a page at which the access does not cross its end.</summary>
    public ushort Limit;
}

/// <summary>Why translated code was left; the record lies in the code, and RDI names it. Kinds that need less have only its beginning.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ExitRecord
{
    /// <summary>Bytes of records without <see cref="Retry"/>.</summary>
    public const int ShortSize = 8;

    /// <summary>Bytes of the call in front of most records.</summary>
    public const int CallSize = 5;

    /// <summary>Bytes from the record to <see cref="Resume"/> and <see cref="Retry"/>, for emitted code.</summary>
    public const int ResumePlace = 4;
    public const int RetryPlace = 8;

    private const int OffsetBits = 12;

    /// <summary>Bytes from the block left to the record, both in one view; 0 for a jump whose target the jump cache does not know.</summary>
    public ushort FromBlock;

    private ushort _kindAndOffset;

    /// <summary>
    /// Bytes from the record to where execution goes on after the instruction; 0 when it does not. Of windows: to the <see cref="WindowLink"/>.
    /// Of direct branches: from the block's linear address to the target's.
    /// </summary>
    public int Resume;

    /// <summary>The same to where the instruction is tried again, for misses.</summary>
    public int Retry;

    /// <summary>Why the code was left.</summary>
    public readonly ExitKind Kind => KindOf(_kindAndOffset);

    /// <summary>Bytes from the block's start to the instruction's.</summary>
    public readonly int Offset => _kindAndOffset & ((1 << OffsetBits) - 1);

    /// <summary>The block left, of a record in the executable view that is no such jump's.</summary>
    public readonly TranslatedBlock* Block
    {
        get
        {
            var executable = (byte*)Unsafe.AsPointer(ref Unsafe.AsRef(in this)) - FromBlock;
            return (TranslatedBlock*)(executable - ((TranslatedBlock*)executable)->ToExecutable);
        }
    }

    /// <summary>Says which instruction it is for.</summary>
    public void Set(ExitKind kind, int offset) => _kindAndOffset = With(kind, offset);

    /// <summary>What follows <see cref="FromBlock"/> in all records.</summary>
    public static ushort With(ExitKind kind, int offset) => (ushort)(((int)kind << OffsetBits) | offset);

    private static ExitKind KindOf(ushort kindAndOffset) => (ExitKind)(kindAndOffset >> OffsetBits);
}

/// <summary>Kinds of exits.</summary>
internal enum ExitKind : byte
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
