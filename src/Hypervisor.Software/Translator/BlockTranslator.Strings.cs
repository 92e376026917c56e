using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>REP MOVS and REP STOS within a page: the host's own, on host addresses. Longer ones are the interpreter's, a page at a time.</content>
internal unsafe ref partial struct BlockTranslator
{
    private static bool IsNativeString(DecodedInstruction* i, bool isCode64)
    {
        if (i->AddressSize != (isCode64 ? 8 : 4) || i->Segment >= 4)
        {
            return false;
        }

        return (i->Prefixes & (Prefixes.Rep | Prefixes.Repne)) switch
        {
            Prefixes.None => true,
            Prefixes.Rep => i->Operation != Operation.Lods,
            Prefixes.Repne => i->Operation is Operation.Cmps or Operation.Scas,
            _ => false,
        };
    }

    private void EmitString(DecodedInstruction* i)
    {
        if ((i->Prefixes & (Prefixes.Rep | Prefixes.Repne)) == 0)
        {
            EmitSingleString(i);
        }
        else if (i->Operation is Operation.Cmps or Operation.Scas)
        {
            EmitStringCompare(i);
        }
        else
        {
            EmitRepeatedString(i);
        }
    }

    private void EmitRepeatedString(DecodedInstruction* i)
    {
        var shift = ShiftOf(i->OperandSize);
        var target = (HostRegister)HomeOf(7);
        var count = (HostRegister)HomeOf(1);
        ParkLiveFlags();
        EmitLeaveIfDownward();
        if (i->Operation == Operation.Movs)
        {
            EmitStringOperand(HostRegister.Rsi, count, isStore: false, shift);
            _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rcx);
        }

        EmitStringOperand(target, count, isStore: true, shift);
        if (i->Operation == Operation.Movs)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(6), HostRegister.Rsi);
            _c.Load64(HostRegister.Rsi, HostRegister.Rsp, StateLayout.Parked);
        }

        _c.Move64(HostRegister.Rdi, HostRegister.Rcx);
        EmitMoveWord(T1, (int)count);
        _c.Byte(0xF3);
        EmitStringOpcode(i->Opcode, i->OperandSize);
        EmitAdvance(target, count, shift);
        if (i->Operation == Operation.Movs)
        {
            _c.Load64(HostRegister.Rsi, HostRegister.Rsp, StateLayout.Gpr(6));
            EmitAdvance(HostRegister.Rsi, count, shift);
        }

        EmitConstant((int)count, 0);
    }

    // RCX is where the operand lies in the host; leaves unless all of it lies in one page.
    private void EmitStringOperand(HostRegister address, HostRegister count, bool isStore, int shift)
    {
        EmitMoveWord(T0, (int)address);
        EmitCheck(isStore, 1);
        _c.Bytes(0x48, 0x01, 0xF9); // add rcx, rdi
        _c.Bytes(0xF7, 0xDF); // neg edi
        _c.Arithmetic32(0, HostRegister.Rdi, 4096);
        _c.Bytes(0xC1, 0xEF, shift); // shr edi, shift: elements up to the page's end
        EmitCompare(_isCode64, (int)count, T0);
        EmitColdBranch(0x87); // ja
    }

    // lea address, [address + count * size]
    private void EmitAdvance(HostRegister address, HostRegister count, int shift)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, _isCode64, (int)address, (int)count, (int)address);
        _c.ModRmIndexed((int)address, (int)address, (int)count, shift, 0);
    }
}
