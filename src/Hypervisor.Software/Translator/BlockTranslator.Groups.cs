using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// Runs of pushes and of pops, as functions begin and end with: one TLB check for all of them. Where it fails, the run is executed
/// instruction by instruction by code that lies apart.
/// </content>
internal unsafe ref partial struct BlockTranslator
{
    // As many operands as one check may cover.
    private const int LongestGroup = 17;

    private enum GroupKind
    {
        None,
        Pushes,

        // Pops, perhaps behind ADD RSP and perhaps with a RET at the end.
        Pops,

        // LEAVE and RET.
        Leave,
    }

    private struct Group
    {
        public GroupKind Kind;

        // Number of the last instruction.
        public int Last;

        // Operands on the stack.
        public int Operands;

        // What the stack pointer is raised by before the first one.
        public int Adjustment;
        public bool Returns;
    }

    // Emits the run that begins with the present instruction, which becomes its last one; false when there is none.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryEmitGroup(out bool ends)
    {
        ends = false;
        return TryFindGroup(_index, out var group) && TryEmitGroup(in group, out ends);
    }

    private bool TryEmitGroup(in Group group, out bool ends)
    {
        ends = false;
        if (!TryLeaveWindow(group))
        {
            return false;
        }

        if (_live[_index] == 0)
        {
            _flags = FlagsInRegister;
        }

        ParkLiveFlags();
        var cold = _colds + _coldCount;
        switch (group.Kind)
        {
            case GroupKind.Pushes:
                EmitAddWord(T0, GuestRsp, -Word * group.Operands);
                break;
            case GroupKind.Pops:
                EmitAddWord(T0, GuestRsp, group.Adjustment);
                break;
            default:
                EmitAddWord(T0, (int)HostRegister.Rbp, 0);
                break;
        }

        EmitCheck(
            group.Kind == GroupKind.Pushes ? ColdKind.StoreGroup : ColdKind.LoadGroup, Word * group.Operands,
            group.Kind == GroupKind.Leave ? NoSlot : StackSlot);
        EmitHostAddress();
        switch (group.Kind)
        {
            case GroupKind.Pushes:
                EmitPushes(in group);
                break;
            case GroupKind.Pops:
                EmitPops(in group);
                break;
            default:
                EmitAddWord(GuestRsp, (int)HostRegister.Rbp, Word);
                EmitLoadOperand((int)HostRegister.Rbp, 0);
                break;
        }

        _index = group.Last;
        if (group.Returns)
        {
            var ret = _instructions + group.Last;
            EmitLoadOperand(T0, group.Operands - 1);
            EmitAdjustStack(Word + (int)(ushort)ret->Immediate);
            RestoreFlags(scratchFree: true);
            EmitIndirectJump();
            ends = true;
        }

        cold->Last = group.Last;
        cold->FlagsBehind = _flags;
        return true;
    }

    // Whether a run has a check of its own, and no window.
    private static bool IsBestAlone(in Group group) => group.Kind != GroupKind.Pushes || group.Operands > 2;

    // False when the operands share their window's check with others.
    private readonly bool TryLeaveWindow(in Group group)
    {
        var window = _accesses[_index].Window;
        if (window == 0)
        {
            return true;
        }

        if (_windows[window - 1].Members > group.Operands)
        {
            return false;
        }

        for (var n = _index; n <= group.Last; n++)
        {
            if (_accesses[n].Window != window)
            {
                return false;
            }
        }

        for (var n = _index; n <= group.Last; n++)
        {
            _accesses[n].Window = 0;
        }

        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly bool TryFindGroup(int first, out Group group)
    {
        if (first + 1 < _count && _instructions[first].Operation is Operation.Push or Operation.Pop or Operation.Leave or Operation.Add)
        {
            return TryFindRun(first, out group);
        }

        Unsafe.SkipInit(out group);
        return false;
    }

    private readonly bool TryFindRun(int first, out Group group)
    {
        group = default;
        var index = first;
        switch (_instructions[index].Operation)
        {
            case Operation.Push:
                while (index < _count && group.Operands < LongestGroup && IsPlainPush(_instructions + index))
                {
                    index++;
                    group.Operands++;
                }

                group.Kind = GroupKind.Pushes;
                break;
            case Operation.Leave when _instructions[index].OperandSize == Word && IsReturn(index + 1):
                group.Kind = GroupKind.Leave;
                group.Operands = 2;
                group.Returns = true;
                index += 2;
                break;
            case Operation.Add when IsStackAdjustment(_instructions + index):
                group.Adjustment = (int)_instructions[index].Immediate;
                index++;
                goto case Operation.Pop;
            case Operation.Pop:
                while (index < _count && group.Operands < LongestGroup - 1 && IsPlainPop(_instructions + index))
                {
                    index++;
                    group.Operands++;
                }

                group.Kind = GroupKind.Pops;
                if (IsReturn(index))
                {
                    group.Returns = true;
                    index++;
                    group.Operands++;
                }

                break;
            default:
                return false;
        }

        // An adjustment of the stack and one operand are worth it: the check comes before the flags that are to be kept.
        group.Last = index - 1;
        return group.Operands > 0 && group.Last > first;
    }

    private readonly bool IsReturn(int index) => index < _count && _instructions[index].Operation == Operation.Ret
        && _translatable[index];

    private readonly bool IsPlainPush(DecodedInstruction* i) => i->Operation == Operation.Push && i->OperandSize == Word && !i->IsMemory
        && (i->Form == OperandForm.Immediate || i->Rm != 4);

    private readonly bool IsPlainPop(DecodedInstruction* i) => i->Operation == Operation.Pop && i->OperandSize == Word && !i->IsMemory && i->Rm != 4;

    private readonly bool IsStackAdjustment(DecodedInstruction* i) =>
        i->Form == OperandForm.RmImmediate && !i->IsMemory && i->Rm == 4 && i->OperandSize == Word;

    // The operand with a number, counted from the lowest, at RCX.
    private void EmitLoadOperand(int register, int number) =>
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, _isCode64, register, HostRegister.Rcx, Word * number);

    // RCX is where the lowest operand lies.
    private void EmitPushes(in Group group)
    {
        for (var n = 0; n < group.Operands; n++)
        {
            var i = _instructions + _index + n;
            var place = Word * (group.Operands - 1 - n);
            if (i->Form == OperandForm.Immediate)
            {
                _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, _isCode64, 0, HostRegister.Rcx, place);
                _c.Int32((int)i->Immediate);
            }
            else
            {
                _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x89, _isCode64, Fetch(i->Rm, T0), HostRegister.Rcx, place);
            }
        }

        EmitAdjustStack(-Word * group.Operands);
    }

    private void EmitPops(in Group group)
    {
        var i = _instructions + _index;
        if (i->Operation == Operation.Add)
        {
            Emit(i);
            i++;
        }

        var pops = group.Operands - (group.Returns ? 1 : 0);
        for (var n = 0; n < pops; n++, i++)
        {
            var home = Located(i->Rm, T0);
            EmitLoadOperand(home, n);
            StoreSpilled(i->Rm, home);
        }

        if (pops > 0)
        {
            EmitAdjustStack(Word * pops);
        }
    }

    // Some operand misses or lies in the next page: each instruction by itself, and back to where the run ends.
    private void EmitGroupCold(Cold* cold)
    {
        if (cold->Slot != NoSlot)
        {
            EmitSlotFill(cold);
        }

        _flags = cold->Flags;
        _in = cold->In;
        var ends = false;
        for (_index = cold->Index; _index <= cold->Last; _index++)
        {
            if (_index > cold->Index)
            {
                _starts[_index] = _c.Cursor;
                _startIn[_index] = _in;
            }

            ends = Emit(_instructions + _index);
        }

        if (ends)
        {
            return;
        }

        _index = cold->Last;
        if (cold->FlagsBehind == FlagsInState)
        {
            ParkFlagsInState();
        }
        else if (cold->FlagsBehind == FlagsInRegister)
        {
            RestoreFlags(scratchFree: true);
        }

        _c.Byte(0xE9);
        _c.Int32((int)(_starts[cold->Last + 1] - (_c.Cursor + 4)));
    }
}
