using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// The translated blocks of a partition: their code memory and the stubs all share. All but the properties is called under the
/// block cache's lock.
/// </summary>
/// <remarks>
/// Code memory is a ring of segments, used in turn as those of the decoded blocks are: one is reused only after every
/// processor has left it, since emptying it is followed by a flush that all acknowledge. What blocks seldom execute lies
/// apart from the rest, so that the host's caches hold more of that.
/// </remarks>
internal sealed unsafe partial class BlockTranslations : IDisposable
{
    /// <summary>The first byte of a dropped block: a jump to the dispatcher.</summary>
    public const byte DroppedEntry = 0xE9;

    private const int StubSize = 8192;
    private const int LargestBlock = 64 << 10;
    private const int LargestEntry = 128;
    private const int SegmentSize = 2 << 20;
    private const int PopulatedAtOnce = 128 << 10;
    private const int PopulatedAhead = 8 << 10;
    private const int MaximumVersions = 32;

    private readonly ExecutableMemory _memory;
    private readonly byte* _scratch;
    private readonly TranslatedBlock** _index;
    private readonly byte* _unknown;
    private readonly byte* _leaveFarInKernel;
    private readonly byte* _leaveFarInUser;
    private readonly FarLinks _farLinks = new();
    private readonly HashRange _translated;
    private readonly int _hotSize;
    private readonly int _coldSize;
    private readonly TranslatedBlock*[] _newest;
    private int _free;
    private int _limit;
    private int _coldFree;
    private int _coldLimit;
    private int _populated;
    private int _coldPopulated;
    private int _segment;

    /// <summary>Maps the code memory.</summary>
    /// <param name="translated">Only blocks whose hash is in this range are translated.</param>
    /// <param name="size">Bytes of the code memory, at least 1 MiB.</param>
    /// <param name="countsInstructions">Whether blocks keep <see cref="VpState.InstructionCount"/>.</param>
    /// <param name="interpretedRuns">How often a block is interpreted before it is translated.</param>
    public BlockTranslations(HashRange translated, int size, bool countsInstructions = false, int interpretedRuns = 0)
    {
        CountsInstructions = countsInstructions;
        InterpretedRuns = interpretedRuns;
        Segments = Math.Clamp(size / SegmentSize, 4, 256);
        _newest = new TranslatedBlock*[Segments];

        // Blocks have twice as much apart; whichever part fills first ends the segment.
        _hotSize = Math.Max(size / Segments / 3, 2 * LargestBlock) & ~4095;
        _coldSize = (size / Segments) - _hotSize;
        _translated = translated;
        _memory = ExecutableMemory.Create("vitro-code", StubSize + (ulong)((long)Segments * (_hotSize + _coldSize)));
        _scratch = BlockTranslator.AllocateScratch();
        _index = (TranslatedBlock**)BackedMemory.AllocateZeroed((nuint)PageBuckets.Count * (nuint)sizeof(TranslatedBlock*));
        var code = new CodeEmitter(_memory, 0, StubSize);
        Enter = (delegate* unmanaged<VpState*, byte*, void>)code.Executable;
        TranslationStubs.EmitEnter(ref code);
        code.Align(16);
        LeaveMissed = code.Executable;
        code.Store64(HostRegister.Rsp, StateLayout.Parked + 8, HostRegister.Rdi);
        CalledLeave = code.Executable;
        TranslationStubs.EmitCalledLeave(ref code);
        Leave = code.Executable;
        TranslationStubs.EmitLeave(ref code);
        code.Align(16);
        _unknown = code.Executable;
        TranslationStubs.EmitUnknown(ref code, Leave);
        code.Align(16);
        var kernelMiss = code.Executable;
        TranslationStubs.EmitMiss(ref code, 0, _unknown);
        code.Align(16);
        Misses = new JumpCache.Misses(kernelMiss, code.Executable);
        TranslationStubs.EmitMiss(ref code, 1, _unknown);
        code.Align(16);
        _leaveFarInKernel = code.Executable;
        TranslationStubs.EmitLeaveFar(ref code, 0, Leave);
        code.Align(16);
        _leaveFarInUser = code.Executable;
        TranslationStubs.EmitLeaveFar(ref code, 1, Leave);
        code.Align(16);
        LoadVectors = code.Executable;
        VectorStubs.EmitLoad(ref code, Leave, needsAvx: false);
        code.Align(16);
        LoadAvx = code.Executable;
        VectorStubs.EmitLoad(ref code, Leave, needsAvx: true);
        code.Align(16);
        LoadX87 = code.Executable;
        X87Stubs.EmitLoad(ref code, Leave);
        code.Align(16);
        GoOnInKernel = code.Executable;
        TranslationStubs.EmitGoOn(ref code, 0);
        code.Align(16);
        GoOnInUser = code.Executable;
        TranslationStubs.EmitGoOn(ref code, 1);
        code.Align(16);
        Syscall = code.Executable;
        SystemStubs.EmitSyscall(ref code, Leave);
        code.Align(16);
        Sysret = code.Executable;
        SystemStubs.EmitSysret(ref code, Leave);
        code.Align(16);
        Iret = code.Executable;
        SystemStubs.EmitIret(ref code, Leave);
        code.Align(16);
        FillLoadSlot = code.Executable;
        TranslationStubs.EmitFillSlot(ref code, StateLayout.LoadTlb, remembers: true);
        code.Align(16);
        FindLoadSlot = code.Executable;
        TranslationStubs.EmitFillSlot(ref code, StateLayout.LoadTlb, remembers: false);
        code.Align(16);
        FillStoreSlot = code.Executable;
        TranslationStubs.EmitFillSlot(ref code, StateLayout.StoreTlb, remembers: true);
        code.Align(16);
        ReadTsc = code.Executable;
        TimeStub.Emit(ref code, Leave, MonotonicClock.Reader);
        Use(0);
    }

    /// <summary>Runs translated code at an address of the executable view until it leaves; the arithmetic flags are explicit before and after.</summary>
    public delegate* unmanaged<VpState*, byte*, void> Enter { get; }

    /// <summary>Where exits of blocks go, RDI being their record.</summary>
    public byte* Leave { get; }

    /// <summary>Where exits of blocks call instead, their record being behind the call.</summary>
    public byte* CalledLeave { get; }

    /// <summary>The same for accesses that miss, RDI being the linear address.</summary>
    public byte* LeaveMissed { get; }

    /// <summary>Where jumps go whose target is not in its slot of the jump cache, RDI being the linear address.</summary>
    public JumpCache.Misses Misses { get; }

    /// <summary>Where to enter to go on at RIP, at CPL 0 and 3; the exit is a jump when the jump cache does not know it.</summary>
    public byte* GoOnInKernel { get; }
    public byte* GoOnInUser { get; }

    /// <summary>Where blocks that need the XMM registers go, RDI being the record of the instruction that needs them.</summary>
    public byte* LoadVectors { get; }

    /// <summary>The same for the YMM registers.</summary>
    public byte* LoadAvx { get; }

    /// <summary>The same for the x87 registers.</summary>
    public byte* LoadX87 { get; }

    /// <summary>Where these instructions go, RDI being their record and RCX, for SYSCALL, the address behind it.</summary>
    public byte* Syscall { get; }
    public byte* Sysret { get; }
    public byte* Iret { get; }

    /// <summary>
    /// Where loads and stores go whose page is another than the remembered one, RCX being their <see cref="SlotRecord"/>: to remember
    /// theirs, or only to find it.
    /// </summary>
    public byte* FillLoadSlot { get; }
    public byte* FindLoadSlot { get; }
    public byte* FillStoreSlot { get; }

    /// <summary>Where RDTSC goes, RDI being its record.</summary>
    public byte* ReadTsc { get; }

    /// <summary>Where branches to other pages go that are not linked, RDI being their <see cref="FarLink"/>.</summary>
    public byte* LeaveFar(uint privilege) => privilege == 0 ? _leaveFarInKernel : _leaveFarInUser;

    /// <summary>Whether blocks keep <see cref="VpState.InstructionCount"/>.</summary>
    public bool CountsInstructions { get; }

    /// <summary>How often a block is interpreted before it is translated.</summary>
    public int InterpretedRuns { get; }

    /// <summary>Blocks translated so far.</summary>
    public ulong Translated { get; private set; }

    /// <summary>Instructions in them.</summary>
    public ulong Instructions { get; private set; }

    /// <summary>How many segments there are.</summary>
    public int Segments { get; }

    /// <summary>Whether the segment has no room for another block.</summary>
    public bool IsFull => _limit - _free < LargestBlock || _coldLimit - _coldFree < LargestBlock;

    /// <summary>Finds a block's translation for a linear address and privilege, or null. Any thread, without the lock.</summary>
    public TranslatedBlock* Find(CodeBlock* block, ulong linear, uint privilege, bool isWindowless = false)
    {
        // Most blocks have one, which is found there without a look at the index, whose memory is seldom in the host's caches.
        var first = (TranslatedBlock*)Volatile.Read(ref *(nint*)CodeBlock.Translations(block));
        if (first == null)
        {
            return null;
        }

        if (first->Linear == linear && first->Privilege == privilege && first->IsWindowless == isWindowless && !first->IsRetired)
        {
            return first;
        }

        for (var version = (TranslatedBlock*)Volatile.Read(ref *(nint*)Bucket(linear)); version != null; version = version->IndexNext)
        {
            if (version->Linear == linear && version->Block == block && version->Privilege == privilege && version->IsWindowless == isWindowless && !version->IsRetired)
            {
                return version;
            }
        }

        return null;
    }

    /// <summary>Finds a translation for a linear address and privilege whose bytes lie at an address of the host, in one page; or null.</summary>
    public TranslatedBlock* Find(byte* hostPc, ulong linear, uint privilege)
    {
        for (var version = *Bucket(linear); version != null; version = version->IndexNext)
        {
            if (version->Linear == linear && version->Privilege == privilege && version->Block->HostPc == hostPc
                && !version->Block->Crosses && !version->IsRetired)
            {
                return version;
            }
        }

        return null;
    }

    /// <summary>Says that translations of a linear address are about to be looked up, or one entered: what that touches is mostly in no cache.</summary>
    public void Prefetch(ulong linear) => Sse.Prefetch0(Bucket(linear));

    /// <summary>The newest translation of a segment, which leads to the others by <see cref="TranslatedBlock.SegmentNext"/>; or null.</summary>
    public TranslatedBlock* First(int segment) => _newest[segment];

    /// <summary>
    /// Translates a block; null when its address is not to be translated. With <paramref name="hasRetired"/> an older translation of it is given
    /// up: the branches of its page are to be unlinked.
    /// </summary>
    public TranslatedBlock* Translate(
        SoftwareVirtualProcessor vp, CodeBlock* block, DecodedInstruction* instructions, ulong linear, bool isWindowless, Arrival arrival,
        out bool hasRetired)
    {
        hasRetired = false;
        if (!_translated.Contains(block) || vp.Partition.Options.Gpa.PageFlags(block->Gpa) == null)
        {
            return null;
        }

        var privilege = (vp.State->Mode & (uint)VpMode.User) != 0 ? 1u : 0;
        Prefetch(linear);
        var known = Find(block, linear, privilege, isWindowless);
        if (known != null)
        {
            return known;
        }

        var translator = Begin(vp);
        var adjoins = !isWindowless && IsNextAfter(_newest[_segment], block, linear, privilege);
        var translated = translator.Translate(block, instructions, linear, privilege, isWindowless, adjoins, arrival, _memory.Executable - _memory.Writable);
        translated->Mapping = !block->Crosses ? _farLinks.MappingOf(linear, block->HostPc) : 0;
        _free = (int)(translator.End - _memory.Writable);
        _coldFree = (int)(translator.ColdEnd - _memory.Writable);
        if (block->TranslationCount == MaximumVersions)
        {
            // So many address spaces have had the page at different addresses that most of them are gone.
            RetireOldest(block);
            hasRetired = true;
        }

        if (*CodeBlock.Translations(block) == null)
        {
            Volatile.Write(ref *(nint*)CodeBlock.Translations(block), (nint)translated);
        }
        else
        {
            var last = *CodeBlock.Translations(block);
            while (last->Next != null)
            {
                last = last->Next;
            }

            last->Next = translated;
        }

        translated->SegmentNext = _newest[_segment];
        _newest[_segment] = translated;
        block->TranslationCount++;
        var bucket = Bucket(linear);
        translated->IndexNext = *bucket;
        Volatile.Write(ref *(nint*)bucket, (nint)translated);
        Translated++;
        Instructions += (uint)block->Count;
        return translated;
    }

    /// <summary>How a direct branch arrives.</summary>
    public static Arrival ArrivalAt(TranslatedBlock* to, TranslatedBlock* from) => to->Linear <= from->Linear ? Arrival.Backward : Arrival.Forward;

    /// <summary>
    /// Sees to what an arrival needs in front of a translation; false when there is no room for it. What is written lies in the present segment, which is
    /// emptied no earlier than the translation's own.
    /// </summary>
    public bool TryAddEntry(SoftwareVirtualProcessor vp, TranslatedBlock* translated, Arrival arrival)
    {
        if (arrival == Arrival.Forward || (arrival == Arrival.Backward ? translated->Checked != null : translated->Entry != null))
        {
            return true;
        }

        if (translated->IsRetired || _coldLimit - _coldFree < LargestEntry)
        {
            return false;
        }

        var translator = Begin(vp);
        translator.AddEntry(translated, arrival);
        _coldFree = (int)(translator.ColdEnd - _memory.Writable);
        return true;
    }

    /// <summary>Gives up the translations of a dropped block: whatever a jump cache still holds of them leads to the dispatcher.</summary>
    public void Kill(CodeBlock* block)
    {
        for (var version = *CodeBlock.Translations(block); version != null; version = version->Next)
        {
            Kill(version);
        }

        *CodeBlock.Translations(block) = null;
        block->TranslationCount = 0;
    }

    /// <summary>Goes on in the next segment, whose blocks have all been dropped and left.</summary>
    public void Advance() => Use((_segment + 1) % Segments);

    /// <summary>Forgets all addresses; all blocks have been dropped.</summary>
    public void Forget() => new Span<nint>(_index, PageBuckets.Count).Clear();

    /// <inheritdoc/>
    public void Dispose()
    {
        BlockTranslator.FreeScratch(_scratch);
        BackedMemory.FreeZeroed(_index, (nuint)PageBuckets.Count * (nuint)sizeof(TranslatedBlock*));
        _memory.Dispose();
    }

    // Whether the newest translation, whose code ends where the next one's will begin, ends with a jump to that.
    private static bool IsNextAfter(TranslatedBlock* newest, CodeBlock* block, ulong linear, uint privilege) =>
        newest != null && newest->Tail != null && newest->TailTarget == linear && linear > newest->Linear && newest->Privilege == privilege
        && !newest->IsRetired && !block->Crosses && newest->Block->HostPc != null
        && ((ulong)newest->Block->HostPc ^ (ulong)block->HostPc) < GuestMemory.PageSize;

    private void Kill(TranslatedBlock* version)
    {
        version->Retire();
        FarLinks.Undo(version);
        var bucket = Bucket(version->Linear);
        if (*bucket == version)
        {
            Volatile.Write(ref *(nint*)bucket, (nint)version->IndexNext);
        }
        else
        {
            var before = *bucket;
            while (before != null && before->IndexNext != version)
            {
                before = before->IndexNext;
            }

            if (before != null)
            {
                before->IndexNext = version->IndexNext;
            }
        }

        if (version->Entry == null)
        {
            return;
        }

        // The entry begins with a five-byte NOP in an aligned word, for a jump to take its place at once.
        var entry = (ulong*)(version->Entry - version->ToExecutable);
        var distance = (uint)(int)(_unknown - (version->Entry + 5));
        Volatile.Write(ref *entry, (*entry & 0xFFFF_FF00_0000_0000) | ((ulong)distance << 8) | DroppedEntry);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private BlockTranslator Begin(SoftwareVirtualProcessor vp) => new(
        this, new CodeEmitter(_memory, _free, Math.Min(LargestBlock, _limit - _free)),
        new CodeEmitter(_memory, _coldFree, Math.Min(LargestBlock, _coldLimit - _coldFree)), _scratch, vp.State);

    // Its block forgets it, so that its branches would not be taken back: it must never have any again.
    private void RetireOldest(CodeBlock* block)
    {
        var oldest = *CodeBlock.Translations(block);
        *CodeBlock.Translations(block) = oldest->Next;
        block->TranslationCount--;
        Unlink(oldest);
        Kill(oldest);
    }

    private TranslatedBlock** Bucket(ulong linear) => _index + PageBuckets.Of(linear);

    /// <summary>Has the host give memory for the next blocks, if there is little left.</summary>
    public void Populate()
    {
        Populate(ref _populated, _free, _limit);
        Populate(ref _coldPopulated, _coldFree, _coldLimit);
    }

    // Most blocks are far smaller than what is kept ready.
    private void Populate(ref int populated, int free, int limit)
    {
        if (free + PopulatedAhead > populated && populated < limit)
        {
            var start = Math.Max(populated, free & ~4095);
            populated = Math.Min(start + PopulatedAtOnce, limit);
            _memory.Populate(start, populated - start);
        }
    }

    private void Use(int segment)
    {
        _segment = segment;
        _newest[segment] = null;
        _free = StubSize + (segment * _hotSize);
        _limit = _free + _hotSize;
        _coldFree = StubSize + (Segments * _hotSize) + (segment * _coldSize);
        _coldLimit = _coldFree + _coldSize;
        _populated = _free;
        _coldPopulated = _coldFree;
    }
}
