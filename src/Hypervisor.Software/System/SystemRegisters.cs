using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software;

/// <content>Instructions on system registers, descriptor tables and caches, and the calls to the hypervisor.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private InstructionResult ExecuteSystemRegister(DecodedInstruction* instruction)
    {
        switch (instruction->Operation)
        {
            case Operation.MovFromControl:
                if (!TryReadControl(instruction->Reg, out var control))
                {
                    return InstructionResult.Fault;
                }

                State->Gpr[instruction->Rm] = IsCode64 ? control : (uint)control;
                return InstructionResult.Next;
            case Operation.MovToControl:
                return Resynchronise(TryWriteControl(instruction->Reg, OperandRegister(instruction)));
            case Operation.MovFromDebug:
                {
                    int number = instruction->Reg;
                    if (!TryAccessDebugRegister(ref number))
                    {
                        return InstructionResult.Fault;
                    }

                    State->Gpr[instruction->Rm] = State->Dr[number];
                    return InstructionResult.Next;
                }

            case Operation.MovToDebug:
                return Resynchronise(TryWriteDebugRegister(instruction->Reg, OperandRegister(instruction)));
            case Operation.Lmsw:
                return ReadRm(instruction, 2, out var status) ? Resynchronise(TryLoadMachineStatus((ushort)status)) : InstructionResult.Fault;
            case Operation.Smsw:
                return MayReadSystemState ? WriteRm(instruction, State->Cr0, instruction->OperandSize) : Raised(Fault.Protection(State));
            case Operation.Clts:
                if (State->Cpl != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                State->Cr0 &= ~ControlBits.Cr0TaskSwitched;
                UpdateMode();
                return Resynchronise(true);
            case Operation.Lgdt or Operation.Lidt:
                return ExecuteLoadTable(instruction);
            case Operation.Sgdt or Operation.Sidt:
                return ExecuteStoreTable(instruction);
            case Operation.Lldt:
                return ExecuteLoadSystemSegment(instruction, isTask: false);
            case Operation.Ltr:
                return ExecuteLoadSystemSegment(instruction, isTask: true);
            case Operation.Sldt or Operation.Str:
                if (!IsProtected || IsVirtual8086)
                {
                    return Raised(Fault.Undefined(State));
                }

                return MayReadSystemState
                    ? WriteRm(instruction, instruction->Operation == Operation.Sldt ? State->Ldtr.Selector : State->Tr.Selector, instruction->OperandSize)
                    : Raised(Fault.Protection(State));
            case Operation.Lar or Operation.Lsl or Operation.Verr or Operation.Verw:
                return ExecuteDescriptorQuery(instruction);
            case Operation.Arpl:
                return ExecuteArpl(instruction);
            case Operation.Invlpg:
                if (State->Cpl != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                {
                    var offset = EffectiveAddress(instruction);
                    var linear = IsCode64 && instruction->Segment < Fs ? offset : offset + Segment(instruction->Segment)->Base;
                    if (IsCanonical(linear))
                    {
                        Mmu.FlushPage(IsCode64 ? linear : (uint)linear);
                    }
                }

                return InstructionResult.Next;
            case Operation.Invpcid:
                if (State->Cpl != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                return TryReadOperand(instruction, 0, 8, out var context) && TryReadOperand(instruction, 8, 8, out var address)
                    && TryInvalidateContext(IsCode64 ? State->Gpr[instruction->Reg] : (uint)State->Gpr[instruction->Reg], context, address)
                        ? InstructionResult.Next
                        : InstructionResult.Fault;
            case Operation.Invd or Operation.Wbinvd:
                return Completed(State->Cpl == 0 || Fault.Protection(State));
            default:
                return ExecuteProcessorQuery(instruction);
        }
    }

    private InstructionResult ExecuteProcessorQuery(DecodedInstruction* instruction)
    {
        switch (instruction->Operation)
        {
            case Operation.Rdmsr:
                if (State->Cpl != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                if (!TryReadMsr((uint)State->Gpr[1], out var msr))
                {
                    return InstructionResult.Fault;
                }

                WritePair(msr);
                return InstructionResult.Next;
            case Operation.Wrmsr:
                return Resynchronise((State->Cpl == 0 || Fault.Protection(State)) && TryWriteMsr((uint)State->Gpr[1], ReadPair()));
            case Operation.Rdtsc or Operation.Rdtscp:
                if (State->Cpl != 0 && (State->Cr4 & ControlBits.Cr4Tsd) != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                WritePair(ReadTsc());
                if (instruction->Operation == Operation.Rdtscp)
                {
                    State->Gpr[1] = State->TscAux;
                }

                return InstructionResult.Next;
            case Operation.Rdpid:
                State->Gpr[instruction->Rm] = State->TscAux;
                return InstructionResult.Next;
            case Operation.Cpuid:
                ExecuteCpuid();
                return InstructionResult.Next;
            case Operation.Xgetbv:
                if ((State->Cr4 & ControlBits.Cr4Osxsave) == 0)
                {
                    return Raised(Fault.Undefined(State));
                }

                if ((uint)State->Gpr[1] != 0)
                {
                    return Raised(Fault.Protection(State));
                }

                WritePair(State->Xcr0);
                return InstructionResult.Next;
            case Operation.Xsetbv:
                return (State->Cr4 & ControlBits.Cr4Osxsave) == 0
                    ? Raised(Fault.Undefined(State))
                    : Resynchronise(TryWriteXcr0((uint)State->Gpr[1], ReadPair()));
            case Operation.Rdfsbase or Operation.Rdgsbase or Operation.Wrfsbase or Operation.Wrgsbase:
                return ExecuteSegmentBase(instruction);
            case Operation.Vmcall or Operation.Vmmcall:
                return ExecuteHypercall();
            case Operation.Stac or Operation.Clac:
                if (State->Cpl != 0)
                {
                    return Raised(Fault.Undefined(State));
                }

                State->SystemFlags = instruction->Operation == Operation.Stac
                    ? State->SystemFlags | RFlags.Ac
                    : State->SystemFlags & ~RFlags.Ac;
                Mmu.SelectSets();
                return Resynchronise(true);
            case Operation.Rdpmc:
                // No counters are offered.
                return Raised(Fault.Protection(State));
            default:
                // MONITOR and MWAIT are not offered, RSM is outside system management mode.
                return Raised(Fault.Undefined(State));
        }
    }

    private ulong ReadPair() => (State->Gpr[2] << 32) | (uint)State->Gpr[0];

    private void WritePair(ulong value)
    {
        State->Gpr[0] = (uint)value;
        State->Gpr[2] = value >> 32;
    }

    private ulong OperandRegister(DecodedInstruction* instruction) =>
        IsCode64 ? State->Gpr[instruction->Rm] : (uint)State->Gpr[instruction->Rm];

    /// <summary>UMIP keeps the addresses of system structures from user code.</summary>
    private bool MayReadSystemState => State->Cpl == 0 || (State->Cr4 & ControlBits.Cr4Umip) == 0;

    private InstructionResult ExecuteHypercall()
    {
        Counters.Hypercalls++;
        if (State->Cpl != 0 || !IsCode64)
        {
            return Raised(Fault.Undefined(State));
        }

        var registers = new HypercallRegisters(State->Gpr[1], State->Gpr[2], State->Gpr[8]);
        bool isServed;
        ulong result;
        LeaveGuest();
        try
        {
            isServed = _intercepts.TryHypercall(this, registers, out result);
        }
        finally
        {
            EnterGuest();
        }

        if (!isServed)
        {
            return Raised(Fault.Undefined(State));
        }

        State->Gpr[0] = result;
        return Resynchronise(true);
    }

    private InstructionResult ExecuteSegmentBase(DecodedInstruction* instruction)
    {
        if (!IsCode64 || (State->Cr4 & ControlBits.Cr4Fsgsbase) == 0)
        {
            return Raised(Fault.Undefined(State));
        }

        var segment = instruction->Operation is Operation.Rdfsbase or Operation.Wrfsbase ? Segment(Fs) : Segment(Gs);
        if (instruction->Operation is Operation.Rdfsbase or Operation.Rdgsbase)
        {
            WriteRegister(instruction->Rm, instruction->OperandSize, segment->Base);
            return InstructionResult.Next;
        }

        var value = State->Gpr[instruction->Rm];
        return Completed(TryWriteAddress(ref segment->Base, instruction->OperandSize == 8 ? value : (uint)value));
    }

    private InstructionResult ExecuteLoadTable(DecodedInstruction* instruction)
    {
        if (State->Cpl != 0)
        {
            return Raised(Fault.Protection(State));
        }

        var size = IsCode64 ? 8 : 4;
        if (!TryReadOperand(instruction, 0, 2, out var limit) || !TryReadOperand(instruction, 2, size, out var tableBase))
        {
            return InstructionResult.Fault;
        }

        if (!IsCode64 && instruction->OperandSize == 2)
        {
            tableBase &= 0xFF_FFFF;
        }

        if (!IsCanonical(tableBase))
        {
            return Raised(Fault.Protection(State));
        }

        if (instruction->Operation == Operation.Lgdt)
        {
            State->GdtBase = tableBase;
            State->GdtLimit = (uint)limit;
        }
        else
        {
            State->IdtBase = tableBase;
            State->IdtLimit = (uint)limit;
        }

        return InstructionResult.Next;
    }

    private InstructionResult ExecuteStoreTable(DecodedInstruction* instruction)
    {
        if (!MayReadSystemState)
        {
            return Raised(Fault.Protection(State));
        }

        var size = IsCode64 ? 10 : 6;
        if (!TryOperandAddress(instruction, size, isStore: true, out var linear))
        {
            return InstructionResult.Fault;
        }

        var isGdt = instruction->Operation == Operation.Sgdt;
        var image = stackalloc byte[10];
        *(ushort*)image = (ushort)(isGdt ? State->GdtLimit : State->IdtLimit);
        *(ulong*)(image + 2) = isGdt ? State->GdtBase : State->IdtBase;
        return Completed(Mmu.TryStoreBytes(linear, image, size));
    }

    private InstructionResult ExecuteLoadSystemSegment(DecodedInstruction* instruction, bool isTask)
    {
        if (!IsProtected || IsVirtual8086)
        {
            return Raised(Fault.Undefined(State));
        }

        if (State->Cpl != 0)
        {
            return Raised(Fault.Protection(State));
        }

        if (!ReadRm(instruction, 2, out var selector))
        {
            return InstructionResult.Fault;
        }

        return Completed(isTask ? TryLoadTaskRegister((ushort)selector) : TryLoadLdt((ushort)selector));
    }

    private InstructionResult ExecuteArpl(DecodedInstruction* instruction)
    {
        if (!IsProtected || IsVirtual8086)
        {
            return Raised(Fault.Undefined(State));
        }

        if (!ReadRm(instruction, 2, out var selector))
        {
            return InstructionResult.Fault;
        }

        var rpl = State->Gpr[instruction->Reg] & 3;
        var raises = (selector & 3) < rpl;
        if (raises)
        {
            var result = WriteRm(instruction, (selector & ~3UL) | rpl, 2);
            if (result == InstructionResult.Fault)
            {
                return result;
            }
        }

        SetZero(raises);
        return InstructionResult.Next;
    }

    private void SetZero(bool isSet) =>
        LazyFlags.Set(State, (LazyFlags.Get(State) & ~LazyFlags.Zero) | (isSet ? LazyFlags.Zero : 0));

    /// <summary>LAR, LSL, VERR, VERW: ask about a descriptor without faulting for it.</summary>
    private InstructionResult ExecuteDescriptorQuery(DecodedInstruction* instruction)
    {
        if (!IsProtected || IsVirtual8086)
        {
            return Raised(Fault.Undefined(State));
        }

        if (!ReadRm(instruction, 2, out var selector))
        {
            return InstructionResult.Fault;
        }

        if ((selector & 0xFFFC) == 0)
        {
            SetZero(false);
            return InstructionResult.Next;
        }

        if (!TryReadDescriptor((uint)selector, Fault.GeneralProtection, 0, out var descriptor))
        {
            if (State->FaultVector == Fault.PageFault)
            {
                return InstructionResult.Fault;
            }

            State->FaultVector = -1;
            SetZero(false);
            return InstructionResult.Next;
        }

        var reaches = (descriptor.IsCode && descriptor.IsConforming)
            || (descriptor.Dpl >= State->Cpl && descriptor.Dpl >= ((uint)selector & 3));
        var good = reaches && instruction->Operation switch
        {
            Operation.Lar => !descriptor.IsSystem || IsLarType(descriptor.Type),
            Operation.Lsl => !descriptor.IsSystem || IsLslType(descriptor.Type),
            Operation.Verr => !descriptor.IsSystem && (!descriptor.IsCode || (descriptor.Attributes & SegmentBits.Readable) != 0),
            _ => descriptor.IsWritableData,
        };
        if (good && instruction->Operation == Operation.Lar)
        {
            WriteRegister(instruction->Reg, instruction->OperandSize, (descriptor.Raw >> 32) & 0xF0_FF00);
        }
        else if (good && instruction->Operation == Operation.Lsl)
        {
            WriteRegister(instruction->Reg, instruction->OperandSize, descriptor.Limit);
        }

        SetZero(good);
        return InstructionResult.Next;
    }

    private bool IsLarType(uint type) => type switch
    {
        SegmentBits.TypeLdt or SegmentBits.TypeTss or SegmentBits.TypeTssBusy or SegmentBits.TypeCallGate => true,
        SegmentBits.TypeTss16 or SegmentBits.TypeTss16Busy or SegmentBits.TypeCallGate16 or SegmentBits.TypeTaskGate => !IsLongModeActive,
        _ => false,
    };

    private bool IsLslType(uint type) => type switch
    {
        SegmentBits.TypeLdt or SegmentBits.TypeTss or SegmentBits.TypeTssBusy => true,
        SegmentBits.TypeTss16 or SegmentBits.TypeTss16Busy => !IsLongModeActive,
        _ => false,
    };
}
