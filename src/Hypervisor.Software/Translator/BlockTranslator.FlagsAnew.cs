using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// Flags made anew: rather than to keep them over a TLB check, the instruction that set them is executed once more where they are
/// wanted, as far as its operands are still there. ADD and SUB are undone first, in a free register.
/// </content>
internal unsafe ref partial struct BlockTranslator
{
    // The instruction that set the flags in EFLAGS, if it can set them again until they are wanted no more; else -1.
    private readonly int FindProducer()
    {
        for (var n = _index - 1; n >= 0; n--)
        {
            var i = _instructions + n;
            if (!_translatable[n])
            {
                return -1;
            }

            _ = FlagUse.Read(i, out var replaced);
            if (replaced != 0 || MayTouchFlags(i->Operation))
            {
                return TryGetOperands(i, out var operands) && AreKept(operands, n) ? n : -1;
            }
        }

        return -1;
    }

    // Whether an instruction can set its flags again, and from which registers.
    private readonly bool TryGetOperands(DecodedInstruction* i, out uint operands)
    {
        operands = 0;
        if (i->IsMemory || i->OperandSize < 4 || HomeOf(i->Rm) == TranslationStubs.Spilled)
        {
            return false;
        }

        operands = 1u << i->Rm;
        if (i->Form is OperandForm.RmReg or OperandForm.RegRm)
        {
            if (HomeOf(i->Reg) == TranslationStubs.Spilled)
            {
                return false;
            }

            operands |= 1u << i->Reg;
        }
        else if (i->Form != OperandForm.RmImmediate)
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Cmp or Operation.Test or Operation.And or Operation.Or:
                return true;
            case Operation.Xor:
                return i->Form != OperandForm.RmImmediate && i->Reg == i->Rm;
            case Operation.Add or Operation.Sub when i->Form == OperandForm.RmImmediate:
                return (int)i->Immediate != int.MinValue;
            case Operation.Add or Operation.Sub:
                return i->Reg != i->Rm || i->Operation == Operation.Sub;
            default:
                return false;
        }
    }

    // Whether registers stay as they are from behind an instruction until the flags are brought back or given up.
    private readonly bool AreKept(uint registers, int producer)
    {
        for (var n = producer + 1; n < _count; n++)
        {
            var i = _instructions + n;
            if (n > _index && (_live[n] == 0 || !_translatable[n]))
            {
                return true;
            }

            if (n >= _index)
            {
                // They are brought back before the instruction writes anything.
                var read = FlagUse.Read(i, out var replaced);
                if ((read | replaced) != 0 || MayTouchFlags(i->Operation))
                {
                    return true;
                }
            }

            var written = RegisterUse.Written(i, Word, out var raised, out _);
            if (raised >= 0)
            {
                written |= 1u << raised;
            }

            if ((written & registers) != 0)
            {
                return false;
            }
        }

        return true;
    }

    private void EmitFlagsAnew(DecodedInstruction* i, bool scratchFree)
    {
        var isSum = i->Operation == Operation.Add;
        if ((!isSum && i->Operation != Operation.Sub) || (i->Form != OperandForm.RmImmediate && i->Reg == i->Rm))
        {
            EmitPlain(i);
            return;
        }

        if (!scratchFree)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.ParkedRax, HostRegister.Rcx);
        }

        var wide = i->OperandSize == 8;
        if (i->Form == OperandForm.RmImmediate)
        {
            var value = (int)i->Immediate;
            _c.RegisterMemory(
                OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, T1, (HostRegister)HomeOf(i->Rm), isSum ? -value : value); // lea
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x81, wide, 0, 0, T1);
            _c.ModRmRegister(isSum ? 0 : 5, T1);
            _c.Int32(value);
        }
        else
        {
            var isReversed = i->Form == OperandForm.RegRm;
            var result = HomeOf(isReversed ? i->Reg : i->Rm);
            var other = HomeOf(isReversed ? i->Rm : i->Reg);
            EmitRegisters(0x8B, wide, T1, result); // mov
            EmitRegisters(isSum ? 0x2B : 0x03, wide, T1, other); // undo it
            EmitRegisters(isSum ? 0x03 : 0x2B, wide, T1, other);
        }

        if (!scratchFree)
        {
            _c.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.ParkedRax);
        }
    }

    private void EmitRegisters(int opcode, bool wide, int reg, int rm)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, opcode, wide, reg, 0, rm);
        _c.ModRmRegister(reg, rm);
    }
}
