using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// Executes one virtual processor's instructions from decoded blocks: a hot switch for the common forms in flat address
/// spaces, a general one for all others.
/// </summary>
internal sealed unsafe partial class InstructionInterpreter : IExecutionCore
{
    private readonly SoftwareVirtualProcessor _vp;
    private readonly VpState* _state;
    private readonly CodeCache _cache;
    private Mmu? _mmu;
    private readonly List<(ulong Gpa, int Length)> _deferredStores = [];
    private bool _codeModified;
    private bool _leaving;
    private uint _pauses;

    /// <summary>Creates the core of one processor.</summary>
    public InstructionInterpreter(SoftwareVirtualProcessor vp, CodeCache cache)
    {
        _vp = vp;
        _state = vp.State;
        _cache = cache;
    }

    /// <summary>What follows an instruction.</summary>
    internal enum NextStep
    {
        /// <summary>The next one of the block.</summary>
        Continue,

        /// <summary>The block at RIP.</summary>
        LookUp,

        /// <summary>Whatever is requested, or the fault to deliver.</summary>
        Return,
    }

    private Mmu Mmu => _mmu ??= _vp.Mmu;

    /// <inheritdoc/>
    public bool CountsInstructions => true;

    /// <inheritdoc/>
    public void Run(SoftwareVirtualProcessor vp)
    {
        var state = _state;
        _leaving = false;
        do
        {
            _cache.Hold(vp);
            if ((state->Mode & (uint)VpMode.Stepping) != 0)
            {
                RunStepping();
                continue;
            }

            var block = Find(state);
            if (block != null)
            {
                Execute(state, block);
            }

            if (state->FaultVector >= 0 && _vp.DeliverFault() == InstructionResult.Leave)
            {
                break;
            }
        }
        while (!_leaving && Volatile.Read(ref state->Requests) == 0);

        CodeCache.Release(vp);
    }

    /// <inheritdoc/>
    public void Step(SoftwareVirtualProcessor vp)
    {
        _cache.Hold(vp);
        StepHeld();
        CodeCache.Release(vp);
    }

    private void StepHeld()
    {
        if ((_state->Mode & (uint)VpMode.Stepping) != 0)
        {
            RunStepping();
            return;
        }

        StepOnce(CodeCache.SingleInstruction);
        if (_state->FaultVector >= 0)
        {
            _ = _vp.DeliverFault();
        }
    }

    /// <summary>The processor has just overwritten code of a block: the present one may be it.</summary>
    public void OnCodeModified() => _codeModified = true;

    /// <summary>
    /// The processor stored into code while it held the memory for itself, when it must not wait for the cache's lock: the
    /// blocks are dropped as soon as the instruction is done.
    /// </summary>
    public void DeferCodeStore(ulong gpa, int length)
    {
        _deferredStores.Add((gpa, length));
        _codeModified = true;
    }

    private void ClearCodeModified()
    {
        _codeModified = false;
        while (_deferredStores.Count > 0)
        {
            var (gpa, length) = _deferredStores[^1];
            _deferredStores.RemoveAt(_deferredStores.Count - 1);
            _cache.DropStored(_vp, gpa, length);
        }
    }

    /// <summary>Whether an instruction asked to return to the run loop since this was last set to false.</summary>
    internal bool IsLeaving
    {
        get => _leaving;
        set => _leaving = value;
    }

    /// <summary>Runs one block and what is linked to it.</summary>
    internal void RunBlocks(CodeBlock* block) => Execute(_state, block);

    /// <summary>Executes one instruction of a block for the translator; RIP is the instruction's address, and exact afterwards.</summary>
    internal NextStep ExecuteSingle(DecodedInstruction* instruction)
    {
        var vp = _state;
        switch (ExecuteOperation(vp, instruction))
        {
            case InstructionResult.Next:
                vp->Rip = NextRip(vp, instruction);
                if (!_codeModified && (vp->InterruptShadow == 0 || Volatile.Read(ref vp->Requests) == 0))
                {
                    return NextStep.Continue;
                }

                // What STI lets in comes in one instruction later, before a CLI there can shut it out again.
                ClearCodeModified();
                break;
            case InstructionResult.Fault:
                return NextStep.Return;
            case InstructionResult.Leave:
                _leaving = true;
                return NextStep.Return;
            default:
                break;
        }

        if (vp->InterruptShadow != 0)
        {
            RunShadow(vp);
        }

        return vp->FaultVector >= 0 || _leaving ? NextStep.Return : NextStep.LookUp;
    }

    /// <summary>Runs as <see cref="IExecutionCore.Run"/> while TF or a breakpoint is set.</summary>
    internal void RunStepping()
    {
        if (_vp.HitsDeliveryTrap() || _vp.HitsInstructionBreakpoint())
        {
            _ = _vp.DeliverFault();
            return;
        }

        // Before the instruction: an IRET may set RF anew for what it returns to, and MOV SS may open a new shadow.
        _state->SystemFlags &= ~RFlags.Rf;
        _state->InterruptShadow = 0;
        var wasStepping = (_state->SystemFlags & RFlags.Tf) != 0;
        _vp.BeginStep();
        if (StepOnce(CodeCache.SingleInstruction))
        {
            _ = _vp.HitsTrap(wasStepping);
        }
        else
        {
            _vp.ForgetDataAccesses();
        }

        if (_state->FaultVector >= 0 && _vp.DeliverFault() == InstructionResult.Leave)
        {
            _leaving = true;
        }
    }

    // One instruction; false when it faulted.
    private bool StepOnce(uint extraMode)
    {
        var linear = LinearPc(_state);
        var block = _cache.GetBlock(_vp, linear, (_state->Mode & CodeCache.ModeMask) | extraMode);
        if (block == null)
        {
            return false;
        }

        var instruction = CodeBlock.Instructions(block);
        ClearCodeModified();
        var result = ExecuteOperation(_state, instruction);
        ClearCodeModified();
        switch (result)
        {
            case InstructionResult.Next:
                _state->Rip = NextRip(_state, instruction);
                break;
            case InstructionResult.Fault:
                return false;
            case InstructionResult.Leave:
                _leaving = true;
                break;
            default:
                break;
        }

        _state->InstructionCount++;
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong LinearPc(VpState* vp) =>
        (vp->Mode & (uint)VpMode.Code64) != 0 ? vp->Rip : (uint)(vp->Cs.Base + vp->Rip);

    /// <summary>The block at RIP; null after raising the fault that fetching it gives.</summary>
    /// <param name="extraMode"><see cref="CodeCache.Plain"/> or nothing.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal CodeBlock* Find(VpState* vp, uint extraMode = 0)
    {
        var linear = LinearPc(vp);
        var entry = vp->FetchTlb + ((linear >> 12) & (TlbEntry.SetSize - 1));
        var offset = linear - entry->Tag;
        if (offset < PageSize)
        {
            var block = _cache.Find((byte*)(entry->Host + offset), (vp->Mode & CodeCache.ModeMask) | extraMode);
            if (block != null)
            {
                return block;
            }
        }

        return FindSlow(vp, linear, extraMode);
    }

    private CodeBlock* FindSlow(VpState* vp, ulong linear, uint extraMode)
    {
        if ((vp->Mode & (uint)VpMode.Stepping) != 0)
        {
            return null;
        }

        if ((vp->Mode & (uint)VpMode.Code64) == 0 && vp->Rip > vp->Cs.Limit)
        {
            _ = Fault.Protection(vp);
            return null;
        }

        return _cache.GetBlock(_vp, linear, (vp->Mode & CodeCache.ModeMask) | extraMode);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private CodeBlock* LinkTaken(VpState* vp, CodeBlock* block, DecodedInstruction* branch)
    {
        var next = Find(vp);
        if (next != null && (vp->Mode & (uint)VpMode.Code64) != 0)
        {
            _cache.Link(_vp, block, &branch->Link, next);
        }

        return next;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private CodeBlock* LinkFallThrough(VpState* vp, CodeBlock* block)
    {
        var next = Find(vp);
        if (next != null && (vp->Mode & (uint)VpMode.Code64) != 0)
        {
            _cache.Link(_vp, block, (void**)CodeBlock.FallThrough(block), next);
        }

        return next;
    }

    // One instruction outside the hot switch: RIP exact meanwhile, and the block's bias restored afterwards.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private NextStep ExecuteGeneral(VpState* vp, CodeBlock* block, DecodedInstruction* instruction)
    {
        vp->Rip += instruction->Offset;
        if ((vp->Mode & (uint)VpMode.Code64) == 0 && !IsWithinCodeLimit(vp, instruction))
        {
            return NextStep.Return;
        }

        var index = (uint)(instruction - CodeBlock.Instructions(block));
        var emptied = _cache.Emptied;
        switch (ExecuteOperation(vp, instruction))
        {
            case InstructionResult.Next:
                // What the instruction asked of a device may interrupt at once: the rest of the block must not hide that.
                if (!_codeModified && Volatile.Read(ref vp->Requests) == 0 && _cache.Emptied == emptied)
                {
                    vp->Rip -= instruction->Offset;
                    return NextStep.Continue;
                }

                ClearCodeModified();
                vp->Rip = NextRip(vp, instruction);
                break;
            case InstructionResult.Fault:
                vp->InstructionCount += index;
                return NextStep.Return;
            case InstructionResult.Leave:
                vp->InstructionCount += index + 1;
                _leaving = true;
                return NextStep.Return;
            default:
                break;
        }

        vp->InstructionCount += index + 1;
        if (vp->InterruptShadow != 0)
        {
            RunShadow(vp);
        }

        return vp->Requests != 0 || vp->FaultVector >= 0 || _leaving ? NextStep.Return : NextStep.LookUp;
    }

    // The instruction behind STI, MOV SS or POP SS: interrupts and traps wait for it.
    private void RunShadow(VpState* vp)
    {
        if ((vp->Mode & (uint)VpMode.Stepping) != 0)
        {
            return;
        }

        vp->InterruptShadow = 0;
        _ = StepOnce(CodeCache.SingleInstruction);
    }

    private static bool IsWithinCodeLimit(VpState* vp, DecodedInstruction* instruction)
    {
        if ((ulong)vp->Rip + instruction->Length - 1 <= vp->Cs.Limit)
        {
            return true;
        }

        return Fault.Protection(vp);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong NextRip(VpState* vp, DecodedInstruction* instruction)
    {
        var next = vp->Rip + instruction->Length;
        if ((vp->Mode & (uint)VpMode.Code64) != 0)
        {
            return next;
        }

        return (vp->Mode & (uint)VpMode.Code32) != 0 ? (uint)next : (ushort)next;
    }
}
