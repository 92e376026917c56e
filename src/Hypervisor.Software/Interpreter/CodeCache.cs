using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// The decoded blocks of a partition, shared by its processors: found by where their bytes lie in host memory and by mode.
/// </summary>
/// <remarks>
/// Lookups are lock-free; decoding, linking and dropping are under a lock. A dropped block is unlinked and its key cleared,
/// but its memory stays until the arena it lies in is reused, two arenas later than anybody could still run in it.
/// Blocks know nothing of linear addresses, so that no change of page tables touches them.
/// </remarks>
internal sealed unsafe class CodeCache : ICodePageObserver, IInspectable, IDisposable
{
    /// <summary>The VpMode bits that blocks depend on.</summary>
    public const uint ModeMask = (uint)(VpMode.Code64 | VpMode.Code32 | VpMode.Protected | VpMode.Virtual8086 | VpMode.LongMode
        | VpMode.Stack32 | VpMode.FlatSegments | VpMode.Stepping) | SingleInstruction;

    /// <summary>Added to the mode for blocks of one instruction (stepping, interrupt shadows).</summary>
    public const uint SingleInstruction = 1u << 31;

    private const int FrontSize = 1 << 17;
    private const int BucketCount = 1 << 17;
    private const int MaximumInstructions = 64;
    private const int LineShift = 6;
    private const nuint ArenaSize = 128 << 20;

    private readonly SoftwarePartition _partition;
    private readonly Lock _gate = new();
    private readonly CodeBlock** _front;
    private readonly CodeBlock** _buckets;
    private readonly byte*[] _arenas = new byte*[2];
    private readonly Dictionary<ulong, CodePage> _pages = [];
    private readonly byte* _window;
    private byte* _free;
    private byte* _limit;
    private int _arena;

    /// <summary>Creates an empty cache.</summary>
    public CodeCache(SoftwarePartition partition)
    {
        _partition = partition;
        _front = (CodeBlock**)NativeMemory.AllocZeroed(FrontSize, (nuint)sizeof(CodeBlock*));
        _buckets = (CodeBlock**)NativeMemory.AllocZeroed(BucketCount, (nuint)sizeof(CodeBlock*));
        _window = (byte*)NativeMemory.AllocZeroed(64);
        UseArena(0);
    }

    /// <summary>What translates blocks to host code; null when blocks are only interpreted.</summary>
    public BlockTranslations? Translations { get; init; }

    /// <summary>Blocks decoded so far.</summary>
    public ulong Decoded { get; private set; }

    /// <summary>Instructions in them.</summary>
    public ulong Instructions { get; private set; }

    /// <summary>Lookups that the front table did not answer, roughly: counted without a lock.</summary>
    public ulong SlowLookups { get; private set; }

    /// <summary>Direct branches linked to their target.</summary>
    public ulong Linked { get; private set; }

    /// <summary>Blocks dropped because their bytes were written.</summary>
    public ulong Dropped { get; private set; }

    /// <summary>Times the whole cache was emptied because it was full.</summary>
    public ulong Emptied { get; private set; }

    /// <summary>Finds a live block by the host address of its first byte, or null. Any thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public CodeBlock* Find(byte* hostPc, uint mode)
    {
        var block = _front[FrontIndex(hostPc)];
        return block != null && block->HostPc == hostPc && block->Mode == mode ? block : null;
    }

    /// <summary>
    /// Finds or decodes the block at a linear address. Null after raising the fault that fetching it gives, RIP being the
    /// instruction's address.
    /// </summary>
    public CodeBlock* GetBlock(SoftwareVirtualProcessor vp, ulong linear, uint mode)
    {
        SlowLookups++;
        if (!vp.Mmu.TryTranslateFetch(linear, out var first))
        {
            return null;
        }

        for (var block = _buckets[BucketIndex(first.Host, mode)]; block != null; block = block->HashNext)
        {
            if (block->HostPc == first.Host && block->Mode == mode)
            {
                if (block->SecondHost == null)
                {
                    _front[FrontIndex(first.Host)] = block;
                    return block;
                }

                if (!vp.Mmu.TryTranslateFetch(NextPage(vp, linear), out var second))
                {
                    return null;
                }

                if (second.Host == block->SecondHost)
                {
                    return block;
                }
            }
        }

        Enter(vp);
        try
        {
            return Decode(vp, linear, mode);
        }
        finally
        {
            _gate.Exit();
        }
    }

    /// <summary>Makes a direct branch go straight to its target, both being blocks of one page.</summary>
    public void Link(SoftwareVirtualProcessor vp, CodeBlock* from, void** slot, CodeBlock* to)
    {
        // A loop across a page border comes here each time round: it must not take the lock of all processors for nothing.
        if (to->SecondHost != null || from->SecondHost != null
            || ((ulong)from->HostPc ^ (ulong)to->HostPc) >= GuestMemory.PageSize)
        {
            return;
        }

        Enter(vp);
        if (from->HostPc != null && to->HostPc != null && to->SecondHost == null && from->SecondHost == null
            && ((ulong)from->HostPc ^ (ulong)to->HostPc) < GuestMemory.PageSize)
        {
            *slot = to;
            Linked++;
        }

        _gate.Exit();
    }

    /// <summary>Translates a block for a linear address; null when it cannot be, or when it is to be looked up anew.</summary>
    public TranslatedBlock* Translate(SoftwareVirtualProcessor vp, CodeBlock* block, ulong linear)
    {
        Enter(vp);
        TranslatedBlock* translated = null;
        if (block->HostPc != null)
        {
            if (Translations!.IsFull)
            {
                Empty();
                _partition.FlushTlbs(vp);
                OnFetchTlbFlushed(vp, isGlobalKept: false);
            }
            else
            {
                translated = Translations.Translate(vp, block, linear);
            }
        }

        _gate.Exit();
        return translated;
    }

    /// <summary>
    /// Makes a direct branch of translated code go straight to its target, both being of one page; nothing if the cache was
    /// emptied since <see cref="Emptied"/> was <paramref name="emptied"/>.
    /// </summary>
    public void Link(SoftwareVirtualProcessor vp, TranslatedBlock* from, int slot, TranslatedBlock* to, ulong emptied)
    {
        Enter(vp);
        if (Emptied == emptied && from->Block->HostPc != null && to->Block->HostPc != null && from->Privilege == to->Privilege
            && ((ulong)from->Block->HostPc ^ (ulong)to->Block->HostPc) < GuestMemory.PageSize
            && (from->Linear ^ to->Linear) < GuestMemory.PageSize)
        {
            BlockTranslations.Link(from, slot, to);
        }

        _gate.Exit();
    }

    /// <inheritdoc/>
    public void OnGuestStore(SoftwareVirtualProcessor vp, ulong gpa, int length)
    {
        if (_partition.IsExclusive)
        {
            vp.Core.DeferCodeStore(gpa, length);
            return;
        }

        if (DropStored(vp, gpa, length))
        {
            vp.Core.OnCodeModified();
        }
    }

    /// <summary>Drops the blocks made of bytes a processor stored to; whether there were any.</summary>
    public bool DropStored(SoftwareVirtualProcessor vp, ulong gpa, int length)
    {
        Enter(vp);
        var dropped = Drop(gpa, length);
        _gate.Exit();
        return dropped;
    }

    /// <inheritdoc/>
    public void OnHostStore(ulong gpa, int length)
    {
        lock (_gate)
        {
            Drop(gpa, length);
        }
    }

    /// <inheritdoc/>
    public void OnFetchTlbFlushed(SoftwareVirtualProcessor vp, bool isGlobalKept)
    {
        if (Translations == null)
        {
            return;
        }

        if (isGlobalKept)
        {
            JumpCache.ClearLocal(vp.State, Translations.Miss);
        }
        else
        {
            JumpCache.Clear(vp.State, Translations.Miss);
        }
    }

    /// <inheritdoc/>
    public void OnFetchPageFlushed(SoftwareVirtualProcessor vp, ulong linear)
    {
        if (Translations != null)
        {
            JumpCache.ClearPage(vp.State, linear, Translations.Miss);
        }
    }

    /// <inheritdoc/>
    public void OnRegionsChanged()
    {
        lock (_gate)
        {
            Empty();
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        node.Value("blocks", (long)Decoded);
        node.Value("instructions", (long)Instructions);
        node.Value("slow_lookups", (long)SlowLookups);
        node.Value("linked", (long)Linked);
        node.Value("dropped", (long)Dropped);
        node.Value("emptied", (long)Emptied);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(_front);
        NativeMemory.Free(_buckets);
        NativeMemory.Free(_window);
        NativeMemory.Free(_arenas[0]);
        NativeMemory.Free(_arenas[1]);
        Translations?.Dispose();
    }

    private static int FrontIndex(byte* hostPc) => (int)((ulong)hostPc ^ ((ulong)hostPc >> 17)) & (FrontSize - 1);

    private static uint BucketIndex(byte* hostPc, uint mode) =>
        (uint)((((ulong)hostPc + mode) * 0x9E37_79B9_7F4A_7C15) >> 40) & (BucketCount - 1);

    private static ulong NextPage(SoftwareVirtualProcessor vp, ulong linear)
    {
        var next = (linear & ~0xFFFUL) + GuestMemory.PageSize;
        return (vp.State->Mode & (uint)VpMode.Code64) != 0 ? next : (uint)next;
    }

    private static bool EndsBlock(Operation operation)
    {
        switch (operation)
        {
            case Operation.Jcc or Operation.Jmp or Operation.JmpIndirect or Operation.Call or Operation.CallIndirect or Operation.Ret
                or Operation.Loop or Operation.Loope or Operation.Loopne or Operation.Jrcxz or Operation.Invalid:
            case Operation.Sti or Operation.Popf or Operation.Hlt or Operation.Int or Operation.Int1 or Operation.Int3 or Operation.Iret
                or Operation.CallFar or Operation.CallFarIndirect or Operation.JmpFar or Operation.JmpFarIndirect or Operation.RetFar
                or Operation.Syscall or Operation.Sysret or Operation.Sysenter or Operation.Sysexit or Operation.MovToControl
                or Operation.Wrmsr or Operation.Lmsw or Operation.Vmcall or Operation.Vmmcall or Operation.Rsm:
                return true;
            default:
                return false;
        }
    }

    // A processor that waits for the lock must not keep others waiting for it.
    private void Enter(SoftwareVirtualProcessor vp)
    {
        if (_gate.TryEnter())
        {
            return;
        }

        while (true)
        {
            vp.LeaveGuest();
            var spin = default(SpinWait);
            spin.SpinOnce();
            vp.EnterGuest();
            if (_gate.TryEnter())
            {
                return;
            }
        }
    }

    private void UseArena(int arena)
    {
        _arena = arena;
        if (_arenas[arena] == null)
        {
            _arenas[arena] = (byte*)NativeMemory.Alloc(ArenaSize);
        }

        _free = (byte*)(((ulong)_arenas[arena] + 63) & ~63UL);
        _limit = _arenas[arena] + ArenaSize - 64;
    }

    private CodeBlock* Decode(SoftwareVirtualProcessor vp, ulong linear, uint mode)
    {
        const int MaximumSize = (MaximumInstructions + 2) * 64;
        if (_limit - _free < MaximumSize)
        {
            Empty();
            UseArena(_arena ^ 1);
            _partition.FlushTlbs(vp);
            OnFetchTlbFlushed(vp, isGlobalKept: false);
        }

        // The wait for the lock may have flushed the TLB; and the page must be protected before its bytes are read.
        if (!vp.Mmu.TryTranslateFetch(linear, out var first))
        {
            return null;
        }

        if (first.PageFlags != null)
        {
            _partition.ProtectCodePage(vp, first.Gpa);
        }

        var block = (CodeBlock*)_free;
        *block = default;
        var instructions = CodeBlock.Instructions(block);
        var inPage = (int)(GuestMemory.PageSize - (linear & 0xFFF));
        var maximum = (mode & ((uint)VpMode.Stepping | SingleInstruction)) != 0 ? 1 : MaximumInstructions;
        var offset = 0;
        var count = 0;
        while (count < maximum && offset < inPage)
        {
            var instruction = instructions + count;
            var status = Decoder.Decode(first.Host + offset, inPage - offset, (VpMode)mode, offset, instruction);
            if (status == DecodeStatus.NeedMore)
            {
                if (count > 0)
                {
                    break;
                }

                return DecodeAcross(vp, linear, mode, first, block);
            }

            count++;
            if (status == DecodeStatus.TooLong)
            {
                MarkTooLong(instruction);
            }

            FeatureGate.Apply(instruction, vp.State->Features);
            HandlerSelection.Select(instruction, (VpMode)mode);
            MarkLinkable(instruction, (int)(linear & 0xFFF));
            if (count > 1)
            {
                HandlerSelection.Fuse(instruction - 1, instruction);
            }

            offset += instruction->Length;
            if (EndsBlock(instruction->Operation))
            {
                break;
            }
        }

        return Complete(block, first, mode, offset, count, null, 0);
    }

    // The first instruction lies across a page border: a block of its own.
    private CodeBlock* DecodeAcross(SoftwareVirtualProcessor vp, ulong linear, uint mode, in Translation first, CodeBlock* block)
    {
        var inPage = (int)(GuestMemory.PageSize - (linear & 0xFFF));
        if (!vp.Mmu.TryTranslateFetch(NextPage(vp, linear), out var second))
        {
            return null;
        }

        if (second.PageFlags != null)
        {
            _partition.ProtectCodePage(vp, second.Gpa);
        }

        Unsafe.CopyBlockUnaligned(_window, first.Host, (uint)inPage);
        Unsafe.CopyBlockUnaligned(_window + inPage, second.Host, (uint)(32 - inPage));
        var instruction = CodeBlock.Instructions(block);
        if (Decoder.Decode(_window, 32, (VpMode)mode, 0, instruction) == DecodeStatus.TooLong)
        {
            MarkTooLong(instruction);
        }

        FeatureGate.Apply(instruction, vp.State->Features);
        HandlerSelection.Select(instruction, (VpMode)mode);
        return Complete(block, first, mode, instruction->Length, 1, second.Host, second.Gpa);
    }

    private CodeBlock* Complete(
        CodeBlock* block, in Translation first, uint mode, int length, int count, byte* secondHost, ulong secondGpa)
    {
        var instructions = CodeBlock.Instructions(block);
        var end = instructions + count;
        *end = default;
        end->Operation = Operation.BlockEnd;
        end->Handler = (ushort)Handler.BlockEnd;
        end->Offset = (ushort)length;
        block->Mode = mode;
        block->Count = count;
        block->Length = length;
        block->Gpa = first.Gpa;
        block->SecondHost = secondHost;
        block->SecondGpa = secondGpa;
        _free = (byte*)(end + 1);
        if (first.PageFlags != null)
        {
            Register(first.Gpa, secondHost == null ? length : (int)(GuestMemory.PageSize - (first.Gpa & 0xFFF)), block);
            if (secondHost != null)
            {
                Register(secondGpa, length - (int)(GuestMemory.PageSize - (first.Gpa & 0xFFF)), block);
            }
        }

        block->HostPc = first.Host;
        var bucket = BucketIndex(first.Host, mode);
        block->HashNext = _buckets[bucket];
        Volatile.Write(ref *(nint*)&_buckets[bucket], (nint)block);
        if (secondHost == null)
        {
            _front[FrontIndex(first.Host)] = block;
        }

        Decoded++;
        Instructions += (uint)count;
        return block;
    }

    private static void MarkTooLong(DecodedInstruction* instruction)
    {
        instruction->Operation = Operation.Invalid;
        instruction->Length = Decoder.MaximumLength;
        instruction->Immediate = Fault.GeneralProtection;
        instruction->ImmediateSize = 0;
    }

    // Branches inside a page may be linked; Immediate2, unused by them, says so.
    private static void MarkLinkable(DecodedInstruction* instruction, int pageOffset)
    {
        if (instruction->Operation is Operation.Jcc or Operation.Jmp or Operation.Call)
        {
            instruction->Immediate2 = (ulong)(pageOffset + (long)instruction->Immediate) < GuestMemory.PageSize ? (ushort)1 : (ushort)0;
        }
    }

    private void Register(ulong gpa, int length, CodeBlock* block)
    {
        ref var page = ref CollectionsMarshal.GetValueRefOrAddDefault(_pages, gpa >> 12, out var exists);
        if (!exists)
        {
            page = new CodePage();
        }

        page!.Lines |= Lines(gpa, length);
        page.Blocks.Add((nint)block);
    }

    private static ulong Lines(ulong gpa, int length)
    {
        var first = (int)(gpa & 0xFFF) >> LineShift;
        var last = ((int)(gpa & 0xFFF) + length - 1) >> LineShift;
        return (ulong.MaxValue << first) & (ulong.MaxValue >> (63 - Math.Min(last, 63)));
    }

    // True when a block was dropped.
    private bool Drop(ulong gpa, int length)
    {
        if (length <= 0 || !_pages.TryGetValue(gpa >> 12, out var page) || (page.Lines & Lines(gpa, length)) == 0)
        {
            return false;
        }

        var dropped = false;
        var lines = 0UL;
        var kept = 0;
        var number = gpa >> 12;
        for (var n = 0; n < page.Blocks.Count; n++)
        {
            var block = (CodeBlock*)page.Blocks[n];
            if (block->HostPc == null)
            {
                continue;
            }

            var isSecond = block->Gpa >> 12 != number;
            var inFirst = (int)(GuestMemory.PageSize - (block->Gpa & 0xFFF));
            var start = isSecond ? block->SecondGpa : block->Gpa;
            var size = isSecond ? block->Length - inFirst : Math.Min(block->Length, inFirst);
            if (start < gpa + (uint)length && gpa < start + (uint)size)
            {
                Kill(block);
                dropped = true;
                continue;
            }

            lines |= Lines(start, size);
            page.Blocks[kept++] = (nint)block;
        }

        page.Blocks.RemoveRange(kept, page.Blocks.Count - kept);
        page.Lines = lines;
        if (dropped)
        {
            foreach (var other in page.Blocks)
            {
                Unlink((CodeBlock*)other);
            }
        }

        if (kept == 0)
        {
            _pages.Remove(number);
            var flags = _partition.Options.Gpa.PageFlags(gpa);
            if (flags != null)
            {
                GpaSpace.ClearPageFlag(flags, GpaPageFlags.HasCode);
            }
        }

        return dropped;
    }

    private void Kill(CodeBlock* block)
    {
        Dropped++;
        var slot = &_buckets[BucketIndex(block->HostPc, block->Mode)];
        while (*slot != null && *slot != block)
        {
            slot = &(*slot)->HashNext;
        }

        if (*slot == block)
        {
            *slot = block->HashNext;
        }

        block->HostPc = null;
        Unlink(block);
        Translations?.Kill(block);
    }

    private static void Unlink(CodeBlock* block)
    {
        BlockTranslations.Unlink(block);
        block->FallThrough = null;
        var last = CodeBlock.Instructions(block) + block->Count - 1;
        if (last->Operation is Operation.Jcc or Operation.Jmp or Operation.Call)
        {
            last->Link = null;
        }
    }

    private void Empty()
    {
        foreach (var (number, page) in _pages)
        {
            foreach (var block in page.Blocks)
            {
                ((CodeBlock*)block)->HostPc = null;
                Unlink((CodeBlock*)block);
                Translations?.Kill((CodeBlock*)block);
            }

            var flags = _partition.Options.Gpa.PageFlags(number << 12);
            if (flags != null)
            {
                GpaSpace.ClearPageFlag(flags, GpaPageFlags.HasCode);
            }
        }

        _pages.Clear();
        for (var n = 0; n < BucketCount; n++)
        {
            // Blocks outside RAM are in no page's list.
            for (var block = _buckets[n]; block != null; block = block->HashNext)
            {
                block->HostPc = null;
                Unlink(block);
            }
        }

        new Span<nint>(_buckets, BucketCount).Clear();
        new Span<nint>(_front, FrontSize).Clear();
        Translations?.Recycle();
        Emptied++;
    }

    private sealed class CodePage
    {
        public ulong Lines { get; set; }

        public List<nint> Blocks { get; } = [];
    }
}
