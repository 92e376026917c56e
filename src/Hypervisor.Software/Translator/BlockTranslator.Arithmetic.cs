using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>Instructions that a copy alone does not make: divisions, bit strings, wide compare and exchange.</content>
internal unsafe ref partial struct BlockTranslator
{
    // A quotient that would not fit, and with it every divisor of zero, is left to the interpreter before the division.
    private void EmitDivide(DecodedInstruction* i)
    {
        var wide = i->OperandSize == 8;
        int divisor;
        if (i->IsMemory)
        {
            ParkLiveFlags();
            EmitMemory(i, false, i->OperandSize);
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, wide, T0, 0, 0); // mov rdi, [operand]
            EmitOperand(T0);
            divisor = T0;
        }
        else
        {
            ParkLiveFlags();
            divisor = Fetch(i->Rm, T0);
        }

        if (i->Operation == Operation.Div)
        {
            EmitCompare(wide, (int)HostRegister.Rdx, divisor);
            EmitColdBranch(0x83); // jae
        }
        else
        {
            // Only dividends that are the sign extension of their lower half, and no division by -1 or 0.
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, T1, 0, divisor); // lea rcx, [divisor + 1]
            _c.ModRmMemory(T1, divisor, 1);
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x83, wide, 0, 0, T1); // cmp rcx, 1
            _c.ModRmRegister(7, T1);
            _c.Byte(1);
            EmitColdBranch(0x86); // jbe
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, wide, T1, 0, 0); // mov rcx, rax
            _c.ModRmRegister(T1, (int)HostRegister.Rax);
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xC1, wide, 0, 0, T1); // sar rcx, 63
            _c.ModRmRegister(7, T1);
            _c.Byte(wide ? 63 : 31);
            EmitCompare(wide, T1, (int)HostRegister.Rdx);
            EmitColdBranch(0x85); // jne
        }

        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, wide, 0, 0, divisor);
        _c.ModRmRegister(i->Operation == Operation.Div ? 6 : 7, divisor);
    }

    // BT and the like with a register in memory: the bit may lie far from the address.
    private void EmitBitString(DecodedInstruction* i)
    {
        var wide = i->OperandSize == 8;
        ParkLiveFlags();
        EmitAddress(i);
        var number = Fetch(i->Reg, T1);
        if (wide)
        {
            _c.Move64(HostRegister.Rcx, (HostRegister)number);
        }
        else
        {
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x63, true, T1, 0, number); // movsxd rcx, number
            _c.ModRmRegister(T1, number);
        }

        _c.Bytes(0x48, 0xC1, 0xF9, (byte)(wide ? 6 : 5)); // sar rcx, log2 of the bits
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, _isCode64, T0, T1, T0); // lea rdi, [rdi + rcx * bytes]
        _c.ModRmIndexed(T0, T0, T1, wide ? 3 : 2, 0);
        EmitCheck(i->Operation != Operation.Bt, i->OperandSize);
        _c.Bytes(0x48, 0x8D, 0x3C, 0x0F); // lea rdi, [rdi + rcx]
        number = Fetch(i->Reg, T1);
        if (number != T1)
        {
            _c.Move64(HostRegister.Rcx, (HostRegister)number);
        }

        _c.Bytes(0x83, 0xE1, (byte)(wide ? 63 : 31)); // and ecx, bits - 1
        SettleFlags(i, scratchFree: false);
        EmitPrefixes(i);
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Escape0F, i->Opcode, wide, T1, 0, T0);
        _c.ModRmMemory(T1, T0, 0);
    }

    private void EmitWideExchange(DecodedInstruction* i)
    {
        var isWidest = i->Operation == Operation.Cmpxchg16b;
        EmitMemory(i, true, isWidest ? 16 : 8);
        _c.Bytes(0x48, 0x8D, 0x3C, 0x0F); // lea rdi, [rdi + rcx]
        if (isWidest)
        {
            _c.Bytes(0x40, 0xF6, 0xC7, 15); // test dil, 15
            EmitColdBranch(0x85);
        }

        _c.Move64(HostRegister.Rcx, (HostRegister)HomeOf(1));
        SettleFlags(i, scratchFree: false);
        EmitPrefixes(i);
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0xC7, isWidest, 1, 0, T0);
        _c.ModRmMemory(1, T0, 0);
    }

    private void EmitCompare(bool wide, int left, int right)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x3B, wide, left, 0, right);
        _c.ModRmRegister(left, right);
    }

    // A conditional branch to the interpreter, for the present instruction.
    private void EmitColdBranch(int opcode)
    {
        _c.Byte(0x0F);
        _c.Byte(opcode);
        AddCold(ColdKind.Interpret);
        _c.Int32(0);
    }
}
