using System.Diagnostics;
using System.Runtime.CompilerServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Translator;
using Vitro.Hypervisor.Vid;
using Vitro.Platform;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// The decoded blocks of a partition, shared by its processors: found by where their bytes lie in host memory and by mode.
/// </summary>
/// <remarks>
/// Lookups are lock-free; decoding, linking and dropping are under a lock. A dropped block is unlinked and its key cleared, but its
/// memory stays until its segment is emptied and nobody can still run in it. When a segment of the ring of decoded blocks or of
/// code memory is full, both go on in the next, the oldest, and what lies there is dropped.
/// Blocks know nothing of linear addresses, so that no change of page tables touches them.
/// </remarks>
internal sealed unsafe partial class CodeCache : ICodePageObserver, IInspectable, IDisposable
{
    /// <summary>The VpMode bits that blocks depend on.</summary>
    public const uint ModeMask = (uint)(VpMode.Code64 | VpMode.Code32 | VpMode.Protected | VpMode.Virtual8086 | VpMode.LongMode
        | VpMode.Stack32 | VpMode.FlatSegments | VpMode.Stepping | VpMode.AlignmentChecks) | SingleInstruction;

    /// <summary>Added to the mode for blocks of one instruction (stepping, interrupt shadows).</summary>
    public const uint SingleInstruction = 1u << 31;

    /// <summary>
    /// Added to the mode for blocks of the translator, whose instructions are as the decoder left them. Those of other blocks are adapted to
    /// the interpreter's handlers.
    /// </summary>
    public const uint Plain = 1u << 30;

    private const int InterpreterSegments = 32;

    // Reading the clock takes a twentieth of what it measures: it is read for one block in so many, and what that takes is taken off.
    private const uint TimedInterval = 16;
    private static readonly long ClockCost = MeasureClock();

    private readonly SoftwarePartition _partition;
    private readonly Lock _gate = new();
    private readonly CodeBlock** _buckets;
    private readonly BlockDecoder _decoder;
    private readonly CodePages _pages = new();
    private readonly List<nint> _stored = [];
    private readonly HashSet<ulong> _touched = [];
    private readonly CodeArena _arena;
    private long _decodingTicks;
    private long _translationTicks;

    /// <summary>Creates an empty cache, over a translator or for the interpreter alone.</summary>
    public CodeCache(SoftwarePartition partition, BlockTranslations? translations = null)
    {
        _partition = partition;
        Translations = translations;
        _arena = new CodeArena(translations?.Segments ?? InterpreterSegments);
        _buckets = (CodeBlock**)BackedMemory.AllocateZeroed((nuint)PageBuckets.Count * (nuint)sizeof(CodeBlock*));
        _decoder = new BlockDecoder(partition);
    }

    /// <summary>What translates blocks to host code; null when blocks are only interpreted.</summary>
    public BlockTranslations? Translations { get; }

    /// <summary>Blocks decoded so far.</summary>
    public ulong Decoded { get; private set; }

    /// <summary>Instructions in them.</summary>
    public ulong Instructions { get; private set; }

    /// <summary>
    /// What decoding took, by what one block in sixteen took: the time of day, not the processor's. Waiting for memory that the host gives is no part of it.
    /// </summary>
    public TimeSpan DecodingTime => Stopwatch.GetElapsedTime(0, _decodingTicks);

    /// <summary>The same of translating, for which blocks that were decoded to be interpreted are decoded once more.</summary>
    public TimeSpan TranslationTime => Stopwatch.GetElapsedTime(0, _translationTicks);

    /// <summary>Lookups that found no block of one page, roughly: counted without a lock.</summary>
    public ulong SlowLookups { get; private set; }

    /// <summary>Direct branches linked to their target.</summary>
    public ulong Linked { get; private set; }

    /// <summary>Blocks dropped because their bytes were written.</summary>
    public ulong Dropped { get; private set; }

    /// <summary>Times a segment, or all, was emptied: a pointer to a block is good while this is what it was, or the processor holds it.</summary>
    public ulong Emptied { get; private set; }

    /// <summary>How long emptying a segment has kept all processors waiting at most.</summary>
    public TimeSpan LongestEviction { get; private set; }

    /// <summary>Finds a live block of one page by the host address of its first byte, or null. Any thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public CodeBlock* Find(byte* hostPc, uint mode)
    {
        var block = _buckets[PageBuckets.Of((ulong)hostPc)];
        while (block != null && (block->HostPc != hostPc || block->Mode != mode || block->Crosses))
        {
            block = block->HashNext;
        }

        return block;
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

        for (var block = _buckets[PageBuckets.Of((ulong)first.Host)]; block != null; block = block->HashNext)
        {
            if (block->HostPc == first.Host && block->Mode == mode)
            {
                if (!block->Crosses)
                {
                    return block;
                }

                if (!vp.Mmu.TryTranslateFetch(BlockDecoder.NextPage(vp, linear), out var second))
                {
                    return null;
                }

                if (second.Host == CodeBlock.SecondHost(block))
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
        if (to->Crosses || from->Crosses
            || ((ulong)from->HostPc ^ (ulong)to->HostPc) >= GuestMemory.PageSize)
        {
            return;
        }

        Enter(vp);
        if (from->HostPc != null && to->HostPc != null && !to->Crosses && !from->Crosses
            && ((ulong)from->HostPc ^ (ulong)to->HostPc) < GuestMemory.PageSize)
        {
            *slot = to;
            Linked++;
        }

        _gate.Exit();
    }

    /// <summary>
    /// The processor's thread holds pointers to no other blocks than what it gets from now on; it says so anew before it looks up its
    /// first one after a request.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Hold(SoftwareVirtualProcessor vp) => Volatile.Write(ref vp.BlocksHeldSince, Emptied);

    /// <summary>The processor's thread holds no pointer to a block.</summary>
    public static void Release(SoftwareVirtualProcessor vp) => Volatile.Write(ref vp.BlocksHeldSince, ulong.MaxValue);

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
            JumpCache.ClearLocal(vp.State, Translations.Misses);
        }
        else
        {
            JumpCache.Clear(vp.State, Translations.Misses);
        }
    }

    /// <inheritdoc/>
    public void OnFetchPageFlushed(SoftwareVirtualProcessor vp, ulong linear)
    {
        if (Translations != null)
        {
            JumpCache.ClearPage(vp.State, linear, Translations.Misses);
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
        node.Value("decoding_us", (long)DecodingTime.TotalMicroseconds);
        if (Translations != null)
        {
            node.Value("translation_us", (long)TranslationTime.TotalMicroseconds);
            node.Value("translations", (long)Translations.Translated);
            node.Value("translated_instructions", (long)Translations.Instructions);
        }

        node.Value("slow_lookups", (long)SlowLookups);
        node.Value("linked", (long)Linked);
        node.Value("dropped", (long)Dropped);
        node.Value("emptied", (long)Emptied);
        node.Value("longest_eviction_us", (long)LongestEviction.TotalMicroseconds);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        BackedMemory.FreeZeroed(_buckets, (nuint)PageBuckets.Count * (nuint)sizeof(CodeBlock*));
        _decoder.Dispose();
        _arena.Dispose();
        Translations?.Dispose();
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

    private CodeBlock* Decode(SoftwareVirtualProcessor vp, ulong linear, uint mode)
    {
        if (_arena.Remaining < BlockDecoder.MaximumSize)
        {
            Advance(vp);
        }

        var start = BeginTiming(Decoded);
        var block = _decoder.Decode(vp, linear, mode, _arena.Free, Emptied);
        if (block == null)
        {
            return null;
        }

        if (_partition.Options.Gpa.PageFlags(block->Gpa) != null)
        {
            _pages.Add(block);
        }

        var bucket = PageBuckets.Of((ulong)block->HostPc);
        block->HashNext = _buckets[bucket];
        Volatile.Write(ref *(nint*)&_buckets[bucket], (nint)block);
        Decoded++;
        Instructions += (uint)block->Count;
        EndTiming(start, ref _decodingTicks);
        _arena.Take(CodeBlock.End(block));
        return block;
    }

    // Zero for a block that is not timed.
    private static long BeginTiming(ulong number) => number % TimedInterval == 0 ? Stopwatch.GetTimestamp() : 0;

    private static void EndTiming(long start, ref long ticks)
    {
        if (start != 0)
        {
            ticks += TimedInterval * Math.Max(0, Stopwatch.GetTimestamp() - start - ClockCost);
        }
    }

    private static long MeasureClock()
    {
        var least = long.MaxValue;
        for (var n = 0; n < 100; n++)
        {
            least = Math.Min(least, -(Stopwatch.GetTimestamp() - Stopwatch.GetTimestamp()));
        }

        return least;
    }

    // True when a block was dropped.
    private bool Drop(ulong gpa, int length)
    {
        _stored.Clear();
        var isBare = _pages.Take(gpa, length, _stored);
        foreach (var block in _stored)
        {
            Kill((CodeBlock*)block);
        }

        if (_stored.Count > 0)
        {
            UnlinkPage(gpa >> 12);
        }

        if (isBare)
        {
            ClearHasCode(gpa >> 12);
        }

        return _stored.Count > 0;
    }

    private void UnlinkPage(ulong page)
    {
        for (var block = _pages.First(page); block != null; block = CodePages.Following(page, block))
        {
            Unlink(block);
        }
    }

    private void ClearHasCode(ulong page)
    {
        var flags = _partition.Options.Gpa.PageFlags(page << 12);
        if (flags != null)
        {
            GpaSpace.ClearPageFlag(flags, GpaPageFlags.HasCode);
        }
    }

    private void Kill(CodeBlock* block)
    {
        Dropped++;
        var slot = &_buckets[PageBuckets.Of((ulong)block->HostPc)];
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
        if ((block->Mode & Plain) != 0)
        {
            Translations!.Kill(block);
        }
    }

    private static void Unlink(CodeBlock* block)
    {
        if ((block->Mode & Plain) != 0)
        {
            BlockTranslations.Unlink(block);
            return;
        }

        *CodeBlock.FallThrough(block) = null;
        var last = CodeBlock.Instructions(block) + block->Count - 1;
        if (last->Operation is Operation.Jcc or Operation.Jmp or Operation.Call)
        {
            last->Link = null;
        }
    }
}
