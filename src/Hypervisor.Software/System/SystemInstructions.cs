using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>Dispatch of the system instructions.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private ulong _next;

    /// <summary>Address behind the instruction in execution.</summary>
    private ulong NextRip => _next;

    /// <summary>
    /// Executes an instruction of the system range. RIP is its start on entry; on a fault nothing has changed.
    /// </summary>
    internal InstructionResult ExecuteSystem(DecodedInstruction* instruction)
    {
        var next = State->Rip + instruction->Length;
        if (!IsCode64)
        {
            next = (State->Mode & (uint)VpMode.Code32) != 0 ? (uint)next : (ushort)next;
        }

        _next = next;
        switch (instruction->Operation)
        {
            case Operation.Pushf:
                return ExecutePushf(WideStackSize(instruction));
            case Operation.Popf:
                return ExecutePopf(WideStackSize(instruction));
            case Operation.Cli:
                if (IsProtected && State->Cpl > Iopl)
                {
                    return Raised(Fault.Protection(State));
                }

                State->SystemFlags &= ~RFlags.If;
                return InstructionResult.Next;
            case Operation.Sti:
                return ExecuteSti();
            case Operation.Hlt:
                if (State->Cpl != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                Counters.Halts++;
                State->Rip = next;
                State->Activity = (uint)VpActivity.Halted;
                State->InterruptShadow = 0;
                return InstructionResult.Leave;
            case Operation.In:
                return ExecuteIn(instruction);
            case Operation.Out:
                return ExecuteOut(instruction);
            case Operation.Ins:
                return ExecuteStringPort(instruction, isInput: true);
            case Operation.Outs:
                return ExecuteStringPort(instruction, isInput: false);
            case Operation.Int:
                return IsVirtual8086 && Iopl < 3
                    ? Raised(Fault.Protection(State))
                    : Interrupted(TryDeliver((byte)instruction->Immediate, EventKind.Software, false, 0, next, CurrentFlags));
            case Operation.Int3:
                return Interrupted(TryDeliver(Fault.Breakpoint, EventKind.Software, false, 0, next, CurrentFlags));
            case Operation.Into:
                if (IsCode64)
                {
                    return Raised(Fault.Undefined(State));
                }

                return (LazyFlags.Get(State) & LazyFlags.Overflow) == 0
                    ? InstructionResult.Next
                    : Interrupted(TryDeliver(Fault.Overflow, EventKind.Software, false, 0, next, CurrentFlags));
            case Operation.Int1:
                return Interrupted(TryDeliver(Fault.Debug, EventKind.PrivilegedSoftware, false, 0, next, CurrentFlags));
            case Operation.Bound:
                return ExecuteBound(instruction);
            case Operation.Iret:
                return ExecuteIret(instruction->OperandSize);
            case Operation.CallFar:
                return ExecuteFar(instruction->Immediate2, instruction->Immediate, instruction->OperandSize, isCall: true, next);
            case Operation.JmpFar:
                return ExecuteFar(instruction->Immediate2, instruction->Immediate, instruction->OperandSize, isCall: false, next);
            case Operation.CallFarIndirect:
                return ExecuteFarIndirect(instruction, isCall: true);
            case Operation.JmpFarIndirect:
                return ExecuteFarIndirect(instruction, isCall: false);
            case Operation.RetFar:
                return ExecuteRetFar(instruction->OperandSize, (ushort)instruction->Immediate);
            case Operation.Syscall:
                return Jumped(TrySyscall(next));
            case Operation.Sysret:
                return Jumped(TrySysret(instruction->OperandSize == 8));
            case Operation.Sysenter:
                return Jumped(TrySysenter());
            case Operation.Sysexit:
                return Jumped(TrySysexit(instruction->OperandSize == 8));
            case Operation.Swapgs:
                if (!IsCode64)
                {
                    return Raised(Fault.Undefined(State));
                }

                if (State->Cpl != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                (State->Gs.Base, State->KernelGsBase) = (State->KernelGsBase, State->Gs.Base);
                return InstructionResult.Next;
            case Operation.MovFromSegment:
                return WriteRm(instruction, Segment(instruction->Reg & 7)->Selector, instruction->OperandSize);
            case Operation.MovToSegment:
                return ReadRm(instruction, 2, out var selector) ? ExecuteLoadSegment(instruction->Reg & 7, (ushort)selector) : InstructionResult.Fault;
            case Operation.PushSegment:
                return TryPush(Segment(instruction->Reg & 7)->Selector, WideStackSize(instruction)) ? InstructionResult.Next : InstructionResult.Fault;
            case Operation.PopSegment:
                return ExecutePopSegment(instruction);
            case Operation.LoadFarPointer:
                return ExecuteLoadFarPointer(instruction);
            default:
                return ExecuteSystemRegister(instruction);
        }
    }

    private uint CurrentFlags => (uint)LazyFlags.GetRflags(State);

    /// <summary>A fault was raised.</summary>
    private static InstructionResult Raised(bool neverTrue) => neverTrue ? InstructionResult.Next : InstructionResult.Fault;

    /// <summary>RIP was set, or a fault raised.</summary>
    private static InstructionResult Jumped(bool done) => done ? InstructionResult.Jump : InstructionResult.Fault;

    // The handler begins with TF clear: what interrupted itself is not followed by a single step.
    private InstructionResult Interrupted(bool done)
    {
        _isStepTrapDecided = done;
        return Jumped(done);
    }

    private static InstructionResult Completed(bool done) => done ? InstructionResult.Next : InstructionResult.Fault;

    /// <summary>Done, with the mode or pending requests to be looked at anew.</summary>
    private InstructionResult Resynchronise(bool done)
    {
        if (!done)
        {
            return InstructionResult.Fault;
        }

        State->Rip = _next;
        return InstructionResult.Jump;
    }

    /// <summary>Stack operations have no 32-bit form in 64-bit code.</summary>
    private int WideStackSize(DecodedInstruction* instruction) =>
        IsCode64 && instruction->OperandSize == 4 ? 8 : instruction->OperandSize;

    private ulong EffectiveAddress(DecodedInstruction* instruction)
    {
        var registers = State->Gpr;
        var address = registers[instruction->Base] + (registers[instruction->Index] << instruction->Scale) + (ulong)instruction->Displacement;
        if (instruction->Base == DecodedInstruction.RipBase)
        {
            address -= instruction->Offset;
        }

        return instruction->AddressSize switch { 2 => (ushort)address, 4 => (uint)address, _ => address };
    }

    private bool TryOperandAddress(DecodedInstruction* instruction, int size, bool isStore, out ulong linear) =>
        TryLinear(instruction->Segment, EffectiveAddress(instruction), size, isStore, out linear);

    /// <summary>A memory operand, byte <paramref name="at"/> onwards.</summary>
    private bool TryReadOperand(DecodedInstruction* instruction, uint at, int size, out ulong value)
    {
        value = 0;
        if (!TryLinear(instruction->Segment, EffectiveAddress(instruction) + at, size, isStore: false, out var linear))
        {
            return false;
        }

        if (Mmu.TryLoad(linear, size, out value))
        {
            return true;
        }

        if (instruction->Segment == Ss)
        {
            Fault.AsStackAccess(State);
        }

        return false;
    }

    private bool ReadRm(DecodedInstruction* instruction, int size, out ulong value)
    {
        if (instruction->IsMemory)
        {
            return TryReadOperand(instruction, 0, size, out value);
        }

        value = State->Gpr[instruction->Rm];
        value = size switch { 2 => (ushort)value, 4 => (uint)value, _ => value };
        return true;
    }

    /// <summary>Stores a 16-bit value: in memory as such, in a register extended to the operand size.</summary>
    private InstructionResult WriteRm(DecodedInstruction* instruction, ulong value, int registerSize)
    {
        if (!instruction->IsMemory)
        {
            WriteRegister(instruction->Rm, registerSize, value);
            return InstructionResult.Next;
        }

        return Completed(TryOperandAddress(instruction, 2, isStore: true, out var linear) && Mmu.TryStore(linear, 2, value & 0xFFFF));
    }

    private void WriteRegister(int number, int size, ulong value) =>
        State->Gpr[number] = size switch
        {
            1 => (State->Gpr[number] & ~0xFFUL) | (byte)value,
            2 => (State->Gpr[number] & ~0xFFFFUL) | (ushort)value,
            4 => (uint)value,
            _ => value,
        };

    private InstructionResult ExecutePushf(int size)
    {
        if (IsVirtual8086 && Iopl < 3)
        {
            return Raised(Fault.Protection(State));
        }

        return Completed(TryPush(LazyFlags.GetRflags(State) & ~(ulong)(RFlags.Vm | RFlags.Rf), size));
    }

    private InstructionResult ExecutePopf(int size)
    {
        if (IsVirtual8086 && Iopl < 3)
        {
            return Raised(Fault.Protection(State));
        }

        if (!TryPeek(0, size, out var flags))
        {
            return InstructionResult.Fault;
        }

        WriteStackPointer(State->Gpr[4] + (uint)size, StackMask);
        var mask = WritableFlags(size, IsProtected ? State->Cpl : 0) & ~RFlags.Rf;
        if (IsVirtual8086)
        {
            mask &= ~RFlags.Iopl;
        }

        var old = State->SystemFlags;
        SetFlags(flags, mask);
        State->SystemFlags &= ~RFlags.Rf;
        var changed = old ^ State->SystemFlags;
        return ChangesMode(changed) || (changed & State->SystemFlags & RFlags.If) != 0
            ? Resynchronise(true)
            : InstructionResult.Next;
    }

    private InstructionResult ExecuteSti()
    {
        if (IsProtected && State->Cpl > Iopl)
        {
            return Raised(Fault.Protection(State));
        }

        if ((State->SystemFlags & RFlags.If) == 0)
        {
            State->SystemFlags |= RFlags.If;
            State->InterruptShadow = 1;
            RestoreDeferredRequests();
        }

        return InstructionResult.Next;
    }

    private InstructionResult ExecuteBound(DecodedInstruction* instruction)
    {
        var size = instruction->OperandSize;
        if (!TryReadOperand(instruction, 0, size, out var lower) || !TryReadOperand(instruction, size, size, out var upper))
        {
            return InstructionResult.Fault;
        }

        var value = State->Gpr[instruction->Reg];
        var isInside = size == 2
            ? (short)value >= (short)lower && (short)value <= (short)upper
            : (int)value >= (int)lower && (int)value <= (int)upper;
        return isInside ? InstructionResult.Next : Raised(Fault.Raise(State, Fault.BoundRange));
    }

    private InstructionResult ExecuteFarIndirect(DecodedInstruction* instruction, bool isCall)
    {
        var size = instruction->OperandSize;
        if (!TryReadOperand(instruction, 0, size, out var offset) || !TryReadOperand(instruction, size, 2, out var selector))
        {
            return InstructionResult.Fault;
        }

        return ExecuteFar((ushort)selector, offset, size, isCall, _next);
    }

    private InstructionResult ExecuteLoadSegment(int number, ushort selector)
    {
        if (number is Cs or > Gs)
        {
            return Raised(Fault.Undefined(State));
        }

        if (!TryLoadSegment(number, selector))
        {
            return InstructionResult.Fault;
        }

        if (number == Ss)
        {
            State->InterruptShadow = 1;
        }

        // Flat or not, and the stack's width, are part of the mode.
        return IsCode64 ? InstructionResult.Next : Resynchronise(true);
    }

    private InstructionResult ExecutePopSegment(DecodedInstruction* instruction)
    {
        var size = WideStackSize(instruction);
        if (!TryPeek(0, size, out var selector))
        {
            return InstructionResult.Fault;
        }

        var mask = StackMask;
        var result = ExecuteLoadSegment(instruction->Reg & 7, (ushort)selector);
        if (result != InstructionResult.Fault)
        {
            WriteStackPointer(State->Gpr[4] + (uint)size, mask);
        }

        return result;
    }

    private InstructionResult ExecuteLoadFarPointer(DecodedInstruction* instruction)
    {
        var size = instruction->OperandSize;
        if (!TryReadOperand(instruction, 0, size, out var offset) || !TryReadOperand(instruction, size, 2, out var selector))
        {
            return InstructionResult.Fault;
        }

        var result = ExecuteLoadSegment(instruction->Immediate2, (ushort)selector);
        if (result != InstructionResult.Fault)
        {
            WriteRegister(instruction->Reg, size, offset);
        }

        return result;
    }
}
