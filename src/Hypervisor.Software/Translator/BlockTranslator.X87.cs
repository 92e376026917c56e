using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>x87 instructions: copied, the host's x87 registers being the guest's. All exceptions are masked while they are.</content>
internal unsafe ref partial struct BlockTranslator
{
    private void EmitX87(DecodedInstruction* i)
    {
        RequireX87();
        if (i->Operation == Operation.Fwait)
        {
            return; // nothing can be pending
        }

        if (i->IsMemory)
        {
            EmitX87Memory(i);
            return;
        }

        SettleFlags(i, scratchFree: true);
        _c.Byte(i->Opcode);
        _c.Byte(i->ModRm);
        switch ((i->Opcode << 8) | i->ModRm)
        {
            case 0xDFE0 or 0xDBE2:
                break;
            case 0xDBE3:
                EmitConstant(T0, 0);
                _c.Store32(HostRegister.Rsp, StateLayout.X87Opcode, HostRegister.Rdi);
                _c.Store64(HostRegister.Rsp, StateLayout.X87Instruction, HostRegister.Rdi);
                _c.Store64(HostRegister.Rsp, StateLayout.X87Data, HostRegister.Rdi);
                break;
            default:
                EmitNoteX87(i);
                break;
        }
    }

    private void EmitX87Memory(DecodedInstruction* i)
    {
        var size = X87Form.MemorySize(i->Opcode, i->Extension, out var isStore);
        if (size != 0)
        {
            EmitMemory(i, isStore, size);
            EmitX87Operand(i);

            // Once more the address: only now is the instruction one that has been executed.
            EmitAddress(i);
            _c.Store64(HostRegister.Rsp, StateLayout.X87Data, HostRegister.Rdi);
            EmitNoteX87(i);
            return;
        }

        var isLoad = i->Extension == 5;
        EmitMemory(i, !isLoad, 2);
        if (!isLoad)
        {
            EmitX87Operand(i);
            return;
        }

        // FLDCW takes a copy, which has been seen to mask all exceptions.
        _c.Bytes(0x0F, 0xB7, 0x0C, 0x0F); // movzx ecx, word [rdi + rcx]
        _c.Store32(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rcx);
        _c.Bytes(0xF7, 0xD1, 0xF6, 0xC1, 0x3F); // not ecx; test cl, masks
        _c.Bytes(0x0F, 0x85); // jnz
        AddCold(ColdKind.Interpret);
        _c.Int32(0);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xD9, false, 5, HostRegister.Rsp, StateLayout.Parked);
    }

    private void EmitX87Operand(DecodedInstruction* i)
    {
        _c.Byte(i->Opcode);
        _c.ModRmIndexed(i->Extension, T0, T1, 0, 0);
    }

    private void EmitNoteX87(DecodedInstruction* i)
    {
        EmitConstant(T0, _linear + i->Offset);
        _c.Store64(HostRegister.Rsp, StateLayout.X87Instruction, HostRegister.Rdi);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, false, 0, HostRegister.Rsp, StateLayout.X87Opcode);
        _c.Int32(((i->Opcode & 7) << 8) | i->ModRm);
    }
}
