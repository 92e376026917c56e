using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>REP MOVS and REP STOS within a page: the host's own, on host addresses. Longer ones are the interpreter's, a page at a time.</content>
internal unsafe ref partial struct BlockTranslator
{
    private static bool IsNativeString(DecodedInstruction* i, bool isCode64) =>
        i->Operation is Operation.Movs or Operation.Stos && (i->Prefixes & (Prefixes.Rep | Prefixes.Repne)) == Prefixes.Rep
        && i->AddressSize == (isCode64 ? 8 : 4) && i->Segment < 4;

    private void EmitString(DecodedInstruction* i)
    {
        var shift = i->OperandSize switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };
        var target = (HostRegister)HomeOf(7);
        var count = (HostRegister)HomeOf(1);
        ParkLiveFlags();
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, HostRegister.Rsp, StateLayout.SystemFlags); // test
        _c.Int32((int)RFlags.Df);
        EmitColdBranch(0x85);
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
        if (i->OperandSize == 2)
        {
            _c.Byte(0x66);
        }

        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, i->Opcode, i->OperandSize == 8, 0, 0, 0);
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
        _c.Bytes([0x48, 0x01, 0xF9]); // add rcx, rdi
        _c.Bytes([0xF7, 0xDF]); // neg edi
        _c.Arithmetic32(0, HostRegister.Rdi, 4096);
        _c.Bytes([0xC1, 0xEF, (byte)shift]); // shr edi, shift: elements up to the page's end
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
