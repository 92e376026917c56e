using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>The stack, whose words are 8 bytes in 64-bit code and else 4, and the jumps that go by a word of it or of memory.</content>
internal unsafe ref partial struct BlockTranslator
{
    private readonly int Word => _isCode64 ? 8 : 4;

    // mov of a word between registers; the upper half of a shorter one is cleared.
    private void EmitMoveWord(int destination, int source)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, _isCode64, destination, 0, source);
        _c.ModRmRegister(destination, source);
    }

    // mov register, [rdi + rcx]
    private void EmitLoadWord(int register)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, _isCode64, register, T1, T0);
        _c.ModRmIndexed(register, T0, T1, 0, 0);
    }

    // mov register, [the operand that was found last]
    private void EmitLoadOperandWord(int register)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, _isCode64, register, 0, 0);
        EmitOperand(register);
    }

    // mov [the operand that was found last], register
    private void EmitStoreOperandWord(int register)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x89, _isCode64, register, 0, 0);
        EmitOperand(register);
    }

    // mov word [the operand that was found last], value
    private void EmitStoreOperandImmediate(int value)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, _isCode64, 0, 0, 0);
        EmitOperand(0);
        _c.Int32(value);
    }

    // lea destination, [source + bytes]
    private void EmitAddWord(int destination, int source, int bytes) =>
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, _isCode64, destination, (HostRegister)source, bytes);

    private void EmitAdjustStack(int bytes) => EmitAddWord(GuestRsp, GuestRsp, bytes);

    // RDI + RCX is where a word below the stack pointer lies.
    private void EmitStackSlot()
    {
        EmitAddWord(T0, GuestRsp, -Word);
        EmitCheck(true, Word, StackSlot);
    }

    // RDI is the word at the stack pointer.
    private void EmitStackTop(int pointer)
    {
        EmitMoveWord(T0, pointer);
        EmitCheck(false, Word, pointer == GuestRsp ? StackSlot : NoSlot);
        EmitLoadWord(T0);
    }

    private void EmitPush(DecodedInstruction* i)
    {
        if (!i->IsMemory && TryEmitWindowed(i))
        {
            if (i->Form == OperandForm.Immediate)
            {
                EmitStoreOperandImmediate((int)i->Immediate);
            }
            else
            {
                EmitStoreOperandWord(Fetch(i->Rm, T0));
            }

            EmitAdjustStack(-Word);
            _windowInRcxUntil = _c.Cursor;
            return;
        }

        ParkLiveFlags();
        if (i->IsMemory)
        {
            EmitMemory(i, false, Word);
            EmitParkOperand();
            EmitStackSlot();
            EmitStoreParked();
        }
        else if (i->Form == OperandForm.Immediate)
        {
            EmitStackSlot();
            EmitStoreImmediate((int)i->Immediate);
        }
        else
        {
            EmitStackSlot();
            var home = HomeOf(i->Rm);
            if (home == TranslationStubs.Spilled)
            {
                EmitHostAddress();
                _c.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.Gpr(i->Rm));
                EmitStoreWord();
            }
            else
            {
                _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x89, _isCode64, home, T1, T0);
                _c.ModRmIndexed(home, T0, T1, 0, 0);
            }
        }

        EmitAdjustStack(-Word);
    }

    private void EmitHostAddress() => _c.Bytes(0x48, 0x8D, 0x0C, 0x39); // lea rcx, [rcx + rdi]

    // mov [rcx], rdi
    private void EmitStoreWord() => _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x89, _isCode64, T0, HostRegister.Rcx, 0);

    // The loaded word waits in the state while RDI and RCX serve another access.
    private void EmitParkOperand()
    {
        EmitLoadOperandWord(T0);
        _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
    }

    private void EmitStoreParked()
    {
        EmitHostAddress();
        _c.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.Parked);
        EmitStoreWord();
    }

    // mov word [rdi + rcx], value
    private void EmitStoreImmediate(int value)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, _isCode64, 0, T1, T0);
        _c.ModRmIndexed(0, T0, T1, 0, 0);
        _c.Int32(value);
    }

    private void EmitPushConstant(ulong value)
    {
        ParkLiveFlags();
        EmitStackSlot();
        if (!_isCode64 || (long)value == (int)value)
        {
            EmitStoreImmediate((int)value);
        }
        else
        {
            EmitHostAddress();
            EmitConstant(T0, value);
            EmitStoreWord();
        }

        EmitAdjustStack(-Word);
    }

    // CALL, but for its jump.
    private void EmitPushReturn(DecodedInstruction* i)
    {
        var address = AddressOf((ulong)(i->Offset + i->Length));
        if (!TryEmitWindowed(i))
        {
            EmitPushConstant(address);
            return;
        }

        if (!_isCode64 || (long)address == (int)address)
        {
            EmitStoreOperandImmediate((int)address);
        }
        else
        {
            EmitConstant(T0, address);
            EmitStoreOperandWord(T0);
        }

        EmitAdjustStack(-Word);
    }

    private void EmitPop(DecodedInstruction* i)
    {
        var home = Located(i->Rm, T0);
        if (TryEmitWindowed(i))
        {
            EmitLoadOperandWord(home);
        }
        else
        {
            ParkLiveFlags();
            EmitMoveWord(T0, GuestRsp);
            EmitCheck(false, Word, StackSlot);
            EmitLoadWord(home);
        }

        if (home == T0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Rm), HostRegister.Rdi);
        }

        if (home != GuestRsp)
        {
            EmitAdjustStack(Word);
        }
    }

    private void EmitLeave()
    {
        ParkLiveFlags();
        EmitStackTop((int)HostRegister.Rbp);
        EmitAddWord(GuestRsp, (int)HostRegister.Rbp, Word);
        EmitMoveWord((int)HostRegister.Rbp, T0);
    }

    private void EmitReturn(DecodedInstruction* i)
    {
        if (TryEmitWindowed(i))
        {
            EmitLoadOperandWord(T0);
        }
        else
        {
            ParkLiveFlags();
            EmitStackTop(GuestRsp);
        }

        EmitAdjustStack(Word + (int)(ushort)i->Immediate);
        RestoreFlags(scratchFree: true);
        EmitIndirectJump();
    }

    private void EmitIndirect(DecodedInstruction* i)
    {
        var isCall = i->Operation == Operation.CallIndirect;
        var next = AddressOf((ulong)(i->Offset + i->Length));
        if (i->IsMemory)
        {
            EmitMemory(i, false, Word);
            if (isCall)
            {
                EmitParkOperand();
                EmitPushConstant(next);
                _c.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.Parked);
            }
            else
            {
                EmitLoadOperandWord(T0);
            }
        }
        else
        {
            if (isCall)
            {
                EmitPushConstant(next);
            }

            var home = Fetch(i->Rm, T0);
            if (home != T0 || !_isCode64)
            {
                EmitMoveWord(T0, home);
            }
        }

        RestoreFlags(scratchFree: true);
        EmitIndirectJump();
    }
}
