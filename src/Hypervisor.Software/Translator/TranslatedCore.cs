using Vitro.Foundation;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Executes one virtual processor by translated code; what cannot be translated goes to the interpreter.</summary>
internal sealed unsafe class TranslatedCore : IExecutionCore, IInspectable
{
    // 32-bit code is translated in protected mode with flat segments.
    private const uint Mode32 = (uint)(VpMode.Code32 | VpMode.Protected | VpMode.Stack32 | VpMode.FlatSegments);
    private const uint Mode32Mask = Mode32 | (uint)(VpMode.Code64 | VpMode.Virtual8086) | Interpreted;
    private const uint Interpreted = (uint)(VpMode.Stepping | VpMode.AlignmentChecks);

    private readonly SoftwareVirtualProcessor _vp;
    private readonly VpState* _state;
    private readonly CodeCache _cache;
    private readonly BlockTranslations _translations;
    private readonly InstructionInterpreter _interpreter;
    private readonly PlainInstructions _plain;
    private readonly ExitCounts _exits = new();

    /// <summary>Creates the core of one processor.</summary>
    public TranslatedCore(SoftwareVirtualProcessor vp, CodeCache cache)
    {
        _vp = vp;
        _state = vp.State;
        _cache = cache;
        _translations = cache.Translations!;
        _interpreter = new InstructionInterpreter(vp, cache);
        _plain = vp.Plain;
        JumpCache.Fill(_state, _translations.Misses);
    }

    private uint Privilege => (_state->Mode & (uint)VpMode.User) != 0 ? 1u : 0;

    /// <inheritdoc/>
    public bool CountsInstructions => _translations.CountsInstructions;

    /// <inheritdoc/>
    public void Run(SoftwareVirtualProcessor vp)
    {
        var state = _state;
        _interpreter.IsLeaving = false;
        _vp.Partition.ShareClock(state);
        do
        {
            _cache.Hold(vp);
            if ((state->Mode & (uint)VpMode.Stepping) != 0)
            {
                _interpreter.RunStepping();
                continue;
            }

            if (IsTranslatedMode)
            {
                RunTranslated();
            }
            else
            {
                var block = _interpreter.Find(state);
                if (block != null)
                {
                    _interpreter.RunBlocks(block);
                }
            }

            if (state->FaultVector >= 0 && _vp.DeliverFault() == InstructionResult.Leave)
            {
                break;
            }
        }
        while (!_interpreter.IsLeaving && Volatile.Read(ref state->Requests) == 0);

        CodeCache.Release(vp);
    }

    /// <inheritdoc/>
    public void Step(SoftwareVirtualProcessor vp) => _interpreter.Step(vp);

    /// <inheritdoc/>
    public void OnCodeModified() => _interpreter.OnCodeModified();

    /// <inheritdoc/>
    public void DeferCodeStore(ulong gpa, int length) => _interpreter.DeferCodeStore(gpa, length);

    /// <inheritdoc/>
    public void Inspect(InspectNode node) => _exits.Inspect(node);

    private void RunTranslated()
    {
        var block = Find();
        if (block == null)
        {
            return;
        }

        // With something requested, too, a block is executed.
        var translated = GetTranslation(block, Arrival.Forward);
        if (translated == null ? Interpret(block) && TryGoOn(out translated, needsSlot: false) : TryEnterJumpCache(block, translated, needsSlot: false))
        {
            RunTranslated(translated);
        }
    }

    // The mode of the blocks that are translated now.
    private uint BlockMode => (_state->Mode & CodeCache.ModeMask) | CodeCache.Plain;

    private CodeBlock* Find() => _interpreter.Find(_state, CodeCache.Plain);

    // CPL 1 and 2 have privileges of their own.
    private bool IsTranslatedMode =>
        ((_state->Mode & ((uint)VpMode.Code64 | Interpreted)) == (uint)VpMode.Code64 || (_state->Mode & Mode32Mask) == Mode32)
        && _state->Cpl is 0 or 3;

    // False when waiting for the cache's lock dropped the TLB, so that it all has to be looked up again. A branch that is to be linked needs no slot.
    private bool TryEnterJumpCache(CodeBlock* block, TranslatedBlock* translated, bool needsSlot = true)
    {
        var linear = translated->Linear;
        needsSlot = (needsSlot || translated->Mapping == 0) && _cache.TryAddEntry(_vp, translated);
        if (!IsFetchable(linear))
        {
            return false;
        }

        var isGlobal = _vp.Mmu.IsFetchGlobal(linear);
        var second = linear;
        if (block->Crosses)
        {
            second = BlockDecoder.NextPage(_vp, linear);
            if (!IsFetchable(second))
            {
                return false;
            }

            isGlobal &= _vp.Mmu.IsFetchGlobal(second);
        }

        ref var tableMode = ref _state->TableModes[translated->Privilege];
        if (tableMode != block->Mode)
        {
            tableMode = block->Mode;
            JumpCache.Clear(_state, translated->Privilege, _translations.Misses);
        }

        if (needsSlot)
        {
            JumpCache.Set(_state, translated, second, isGlobal, _translations.Misses);
        }
        else
        {
            JumpCache.SetMapping(_state, translated, isGlobal);
        }

        return true;
    }

    // What is kept by linear address has to be in the fetch TLB.
    private bool IsFetchable(ulong linear) =>
        linear - _state->FetchTlb[(linear >> 12) & (TlbEntry.SetSize - 1)].Tag < GuestMemory.PageSize;

    // Null when the block cannot be translated, or has run too seldom, or has to be looked up anew.
    private TranslatedBlock* GetTranslation(CodeBlock* block, Arrival arrival, bool isWindowless = false)
    {
        var linear = _state->Rip;
        var translated = _translations.Find(block, linear, Privilege, isWindowless);
        if (translated != null)
        {
            return translated;
        }

        if (block->Runs < _translations.InterpretedRuns)
        {
            block->Runs++;
            return null;
        }

        return _cache.Translate(_vp, block, linear, arrival, isWindowless);
    }

    // Executes a block without a translation, at RIP; false when the caller cannot simply go on with the next one.
    private bool Interpret(CodeBlock* block)
    {
        var state = _state;
        var emptied = _cache.Emptied;
        var instructions = _plain.Of(block, emptied);
        for (var n = 0; n < block->Count; n++)
        {
            if (block->HostPc == null)
            {
                return false;
            }

            // A shadow of STI was over when this instruction began.
            state->InterruptShadow = 0;
            var next = _interpreter.ExecuteSingle(instructions + n);
            state->InstructionCount++;
            if (next != InstructionInterpreter.NextStep.Continue || _cache.Emptied != emptied || BlockMode != block->Mode)
            {
                return false;
            }
        }

        return true;
    }

    private void RunTranslated(TranslatedBlock* translated)
    {
        var state = _state;
        var target = translated->Body;
        while (true)
        {
            if (state->FlagOperation != LazyFlags.Explicit)
            {
                LazyFlags.Set(state, LazyFlags.Get(state));
            }

            _translations.Enter(state, target);
            var record = (ExitRecord*)state->ExitRecord;
            _exits.Add(record->Kind);
            if (record->Kind == ExitKind.Jump)
            {
                state->Rip = state->Parked;
                if (!TryGoOn(out translated))
                {
                    return;
                }

                target = translated->Body;
                continue;
            }

            translated = record->Block;
            var block = translated->Block;

            // Once this has changed, the record may be gone.
            var emptied = _cache.Emptied;
            var flushes = _vp.Mmu.Flushes;
            switch (record->Kind)
            {
                case ExitKind.LoadWindow or ExitKind.StoreWindow:
                    state->Rip = translated->Linear + (uint)record->Offset;
                    var isWindowFilled = _vp.Mmu.TryFill(state->Parked, record->Kind == ExitKind.LoadWindow ? MmuAccess.Load : MmuAccess.Store);
                    if (_cache.Emptied != emptied || _vp.Mmu.Flushes != flushes)
                    {
                        return;
                    }

                    if (isWindowFilled)
                    {
                        target = (byte*)record + record->Retry;
                        break;
                    }

                    if (!LeaveWindow(ref translated, (WindowLink*)((byte*)record + record->Resume - translated->ToExecutable)))
                    {
                        return;
                    }

                    target = translated->Body;
                    break;
                case ExitKind.MissedLoad or ExitKind.MissedStore:
                    var missed = translated->Linear + (uint)record->Offset;
                    var isFilled = _vp.Mmu.TryFill(state->Parked, record->Kind == ExitKind.MissedLoad ? MmuAccess.Load : MmuAccess.Store);
                    if (_cache.Emptied != emptied || _vp.Mmu.Flushes != flushes)
                    {
                        state->Rip = missed;
                        return;
                    }

                    if (!isFilled)
                    {
                        goto case ExitKind.Interpret;
                    }

                    target = (byte*)record + record->Retry;
                    break;
                case ExitKind.Interpret:
                case ExitKind.Vectors:
                    var instruction = _plain.Find(record, block, record->Offset, emptied);
                    state->Rip = translated->Linear + instruction->Offset;
                    _exits.AddInterpreted(instruction, translated);

                    // A shadow of translated STI was over when this instruction began.
                    state->InterruptShadow = 0;
                    var next = _interpreter.ExecuteSingle(instruction);
                    if (next == InstructionInterpreter.NextStep.Continue && _cache.Emptied == emptied && record->Kind != ExitKind.Vectors
                        && record->Resume != 0 && block->HostPc != null && BlockMode == block->Mode)
                    {
                        target = (byte*)record + record->Resume;
                        break;
                    }

                    if (next == InstructionInterpreter.NextStep.Return || state->Requests != 0 || !IsTranslatedMode
                        || state->TableModes[Privilege] != BlockMode)
                    {
                        return;
                    }

                    target = Privilege == 0 ? _translations.GoOnInKernel : _translations.GoOnInUser;
                    break;
                case ExitKind.Far:
                    var link = (FarLink*)((byte*)record - translated->ToExecutable);
                    state->Rip = link->Target;
                    if (!TryGoOn(out translated, needsSlot: false, link, emptied))
                    {
                        return;
                    }

                    target = translated->Body;
                    break;
                case ExitKind.Taken:
                    state->Rip = translated->Linear + (ulong)record->Resume;
                    if (!Follow(ref translated, 0))
                    {
                        return;
                    }

                    target = translated->Body;
                    break;
                case ExitKind.FallThrough:
                    state->Rip = translated->Linear + (ulong)record->Resume;
                    if (!Follow(ref translated, 1))
                    {
                        return;
                    }

                    target = translated->Body;
                    break;
                default:
                    state->Rip = translated->Linear;
                    return;
            }
        }
    }

    // Goes on at RIP, which the jump cache does not know, if nothing is requested; a branch that led there is linked. Blocks without translation
    // are executed on the way: what follows them needs no slot of the jump cache.
    private bool TryGoOn(out TranslatedBlock* translated, bool needsSlot = true, FarLink* link = null, ulong emptied = 0)
    {
        translated = null;
        while (_state->Requests == 0 && IsTranslatedMode)
        {
            var block = Find();
            if (block == null)
            {
                return false;
            }

            translated = GetTranslation(block, needsSlot ? Arrival.Indirect : ArrivalBy(link));
            if (translated != null)
            {
                if (!TryEnterJumpCache(block, translated, needsSlot))
                {
                    return false;
                }

                if (link != null)
                {
                    _cache.Link(_vp, link, translated, emptied);
                }

                return link == null || _cache.Emptied == emptied;
            }

            if (!Interpret(block))
            {
                return false;
            }

            link = null;
            needsSlot = false;
        }

        return false;
    }

    // How a branch to RIP arrives; without one nothing is expected.
    private Arrival ArrivalBy(FarLink* link) => link != null && _state->Rip <= link->Block->Linear ? Arrival.Backward : Arrival.Forward;

    // Goes on with the block at RIP, linking the branch that led there.
    private bool Follow(ref TranslatedBlock* from, int slot)
    {
        if (_state->Requests != 0)
        {
            return false;
        }

        var emptied = _cache.Emptied;
        var next = Find();
        if (next == null || next->Crosses)
        {
            return false;
        }

        var translated = GetTranslation(next, _state->Rip <= from->Linear ? Arrival.Backward : Arrival.Forward);
        if (translated == null)
        {
            return Interpret(next) && TryGoOn(out from, needsSlot: false);
        }

        if (_cache.Emptied != emptied)
        {
            return false;
        }

        _cache.Link(_vp, from, slot, translated, emptied);
        if (_cache.Emptied != emptied || !IsFetchable(translated->Linear))
        {
            return false;
        }

        from = translated;
        return true;
    }

    // Goes on at RIP, in a block, with a translation that has no windows, as the block's next one fails. Requests wait for the rest's end.
    private bool LeaveWindow(ref TranslatedBlock* from, WindowLink* link)
    {
        var emptied = _cache.Emptied;
        var rest = Find();
        if (rest == null || rest->Crosses)
        {
            return false;
        }

        var linear = _state->Rip;
        var translated = GetTranslation(rest, Arrival.Forward, isWindowless: true);
        if (translated == null)
        {
            return Interpret(rest) && TryGoOn(out from, needsSlot: false);
        }

        if (_cache.Emptied != emptied)
        {
            return false;
        }

        _cache.Link(_vp, from, link, translated, emptied);
        if (_cache.Emptied != emptied || !IsFetchable(linear))
        {
            return false;
        }

        from = translated;
        return true;
    }
}
