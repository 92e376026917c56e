namespace Vitro.Hypervisor.Software;

/// <content>Debug registers, breakpoints and single step (Intel SDM volume 3, chapter 17).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private const ulong Dr6SingleStep = 1 << 14;
    private const ulong Dr6DebugAccess = 1 << 13;
    private const ulong Dr6TaskSwitch = 1 << 15;
    private const ulong Dr6Fixed = 0xFFFF_0FF0;
    private const ulong Dr7GeneralDetect = 1 << 13;

    private bool _debugIsFault;
    private bool _isStepTrapDecided;
    private ulong _watchHits;

    /// <summary>
    /// Before an instruction in stepping mode: whether a breakpoint stops it. The #DB is then recorded as a fault. RF
    /// suspends breakpoints for one instruction.
    /// </summary>
    internal bool HitsInstructionBreakpoint()
    {
        if ((State->SystemFlags & RFlags.Rf) != 0)
        {
            return false;
        }

        var linear = IsCode64 ? State->Rip : (uint)(State->Cs.Base + State->Rip);
        var hits = 0UL;
        for (var i = 0; i < 4; i++)
        {
            if (IsBreakpointEnabled(i) && BreakpointKind(i) == 0 && State->Dr[i] == linear)
            {
                hits |= 1UL << i;
            }
        }

        if (hits == 0)
        {
            return false;
        }

        State->Dr[6] = (State->Dr[6] & ~0xFUL) | hits | Dr6Fixed;
        _debugIsFault = true;
        Fault.Raise(State, Fault.Debug);
        return true;
    }

    /// <summary>
    /// After an instruction in stepping mode, RIP moved on: whether single step or a data breakpoint traps. The #DB is
    /// then recorded. Not to be called when the instruction faulted.
    /// </summary>
    /// <param name="wasStepping">RFLAGS.TF before the instruction.</param>
    internal bool HitsTrap(bool wasStepping)
    {
        var hits = _watchHits;
        _watchHits = 0;
        if (wasStepping && !_isStepTrapDecided)
        {
            hits |= Dr6SingleStep;
        }

        if (hits == 0 || State->InterruptShadow != 0)
        {
            _watchHits = hits & 0xF;
            return false;
        }

        State->Dr[6] = (State->Dr[6] & ~0xFUL) | hits | Dr6Fixed;
        _debugIsFault = false;
        Fault.Raise(State, Fault.Debug);
        return true;
    }

    /// <summary>
    /// Before an instruction in stepping mode: whether the delivery of an event touched watched data, with its frame or what it read of
    /// tables. The #DB is then recorded as a trap, which comes before the handler's first instruction and before a breakpoint there.
    /// </summary>
    /// <remarks>Not within the delivery: a #DB whose own frame is watched repeats itself for ever, and such a processor must stay cancellable.</remarks>
    internal bool HitsDeliveryTrap() => _watchHits != 0 && HitsTrap(wasStepping: false);

    /// <summary>Delivers the trap of an instruction that is complete.</summary>
    /// <param name="hits">What DR6 is to report.</param>
    private void DeliverDebugTrap(ulong hits)
    {
        State->Dr[6] = (State->Dr[6] & ~0xFUL) | hits | Dr6Fixed;
        _debugIsFault = false;
        Fault.Raise(State, Fault.Debug);
        _ = DeliverFault();
    }

    /// <summary>An instruction begins in stepping mode: what the one before left behind when it faulted is forgotten.</summary>
    internal void BeginStep() => _isStepTrapDecided = false;

    /// <summary>The instruction faulted: what it accessed before is not reported.</summary>
    internal void ForgetDataAccesses() => _watchHits = 0;

    /// <summary>
    /// SYSCALL and SYSRET: the TF they leave decides whether a single step traps behind them, at their target, not the one they found. INT
    /// and its like clear it. To be called last.
    /// </summary>
    private void StepByNewFlags()
    {
        _isStepTrapDecided = true;
        if ((State->SystemFlags & RFlags.Tf) != 0)
        {
            State->Dr[6] = (State->Dr[6] & ~0xFUL) | _watchHits | Dr6SingleStep | Dr6Fixed;
            _watchHits = 0;
            _debugIsFault = false;
            Fault.Raise(State, Fault.Debug);
        }
    }

    /// <summary>A data access while breakpoints on data are armed.</summary>
    internal void NoteDataAccess(ulong linear, int size, bool isStore)
    {
        for (var i = 0; i < 4; i++)
        {
            var kind = BreakpointKind(i);
            if (!IsBreakpointEnabled(i) || !(kind == 3 || (kind == 1 && isStore)))
            {
                continue;
            }

            var length = BreakpointLength(i);
            var start = State->Dr[i] & ~(ulong)(length - 1);
            if (linear < start + (uint)length && start < linear + (uint)size)
            {
                _watchHits |= 1UL << i;
            }
        }
    }

    /// <summary>Whether a page holds watched data.</summary>
    internal bool IsWatchedPage(ulong linear)
    {
        for (var i = 0; i < 4; i++)
        {
            if (IsBreakpointEnabled(i) && (BreakpointKind(i) & 1) != 0 && ((State->Dr[i] ^ linear) & ~0xFFFUL) == 0)
            {
                return true;
            }
        }

        return false;
    }

    private bool IsBreakpointEnabled(int number) => ((State->Dr[7] >> (number * 2)) & 3) != 0;

    /// <summary>0 execution, 1 store, 2 port, 3 load or store.</summary>
    private uint BreakpointKind(int number) => (uint)(State->Dr[7] >> (16 + (number * 4))) & 3;

    private int BreakpointLength(int number) => ((uint)(State->Dr[7] >> (18 + (number * 4))) & 3) switch
    {
        0 => 1,
        1 => 2,
        2 => 8,
        _ => 4,
    };

    private void NotePortAccess(ushort port, int size)
    {
        if ((State->Dr[7] & 0xFF) == 0 || (State->Cr4 & ControlBits.Cr4De) == 0)
        {
            return;
        }

        for (var i = 0; i < 4; i++)
        {
            if (IsBreakpointEnabled(i) && BreakpointKind(i) == 2)
            {
                var length = BreakpointLength(i);
                var start = State->Dr[i] & ~(ulong)(length - 1);
                if (port < start + (uint)length && start < (ulong)(port + size))
                {
                    _watchHits |= 1UL << i;
                }
            }
        }
    }

    private void UpdateDebugWatch()
    {
        var watching = false;
        for (var i = 0; i < 4; i++)
        {
            watching |= IsBreakpointEnabled(i) && (BreakpointKind(i) & 1) != 0;
        }

        _watchHits = 0;
        Mmu.SetWatching(watching);
    }

    /// <summary>MOV to or from a debug register: checks shared by both, giving the register's true number.</summary>
    private bool TryAccessDebugRegister(ref int number)
    {
        if (number is 4 or 5)
        {
            if ((State->Cr4 & ControlBits.Cr4De) != 0)
            {
                return Fault.Undefined(State);
            }

            number += 2;
        }

        if (number > 7)
        {
            return Fault.Undefined(State);
        }

        if (State->Cpl != 0)
        {
            return Fault.Protection(State);
        }

        if ((State->Dr[7] & Dr7GeneralDetect) != 0)
        {
            State->Dr[6] |= Dr6DebugAccess;
            State->Dr[7] &= ~Dr7GeneralDetect;
            _debugIsFault = true;
            return Fault.Raise(State, Fault.Debug);
        }

        return true;
    }

    private bool TryWriteDebugRegister(int number, ulong value)
    {
        if (!TryAccessDebugRegister(ref number))
        {
            return false;
        }

        if (number >= 6 && value >> 32 != 0)
        {
            return Fault.Protection(State);
        }

        State->Dr[number] = number switch
        {
            6 => (value & 0xE00F) | Dr6Fixed,
            7 => (value & 0xFFFF_2BFF) | 0x400,
            _ => value,
        };
        UpdateDebugWatch();
        UpdateMode();
        return true;
    }
}
