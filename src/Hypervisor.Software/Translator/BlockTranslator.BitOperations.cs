using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>BMI1 and BMI2: VEX-encoded instructions of up to three general registers, or one operand in memory.</content>
internal unsafe ref partial struct BlockTranslator
{
    private static bool IsBitOperationTranslatable(DecodedInstruction* i)
    {
        var isFirst = i->Operation is Operation.Andn or Operation.Bextr or Operation.Blsr or Operation.Blsmsk or Operation.Blsi;
        return isFirst ? Bmi1.IsSupported : Bmi2.IsSupported;
    }

    private void EmitBitOperation(DecodedInstruction* i)
    {
        var size = i->OperandSize;
        var memory = i->IsMemory;
        if (memory)
        {
            EmitMemory(i, false, size);
        }

        SettleFlags(i, scratchFree: !memory);
        int rm = T0;
        if (memory)
        {
            // One free register is enough for what else is not in a register: the result may take the address's.
            EmitOperandAddress(T0);
        }
        else
        {
            rm = Fetch(i->Rm, T0);
        }

        // MULX writes both of its named registers, the lower half to the one of VEX; BLSR and its kin write that alone.
        var isMulx = i->Operation == Operation.Mulx;
        var isUnary = i->Form is OperandForm.VvvvRm or OperandForm.RegRmImmediate;
        int vvvv = i->Form == OperandForm.RegRmImmediate ? 0 : isUnary || isMulx ? Located(i->Vvvv, T1) : Fetch(i->Vvvv, T1);
        var reg = i->Form == OperandForm.VvvvRm ? i->Extension : Located(i->Reg, T0);
        _c.VexOpcode(
            i->MandatoryPrefix switch
            {
                0x66 => OpcodePrefix.OperandSize,
                0xF3 => OpcodePrefix.Repeat,
                0xF2 => OpcodePrefix.RepeatNotEqual,
                _ => OpcodePrefix.None,
            },
            (OpcodeMap)i->Map, i->Opcode, size == 8, false, i->Form == OperandForm.VvvvRm ? 0 : reg, vvvv, 0, rm);
        if (memory)
        {
            _c.ModRmMemory(reg, rm, 0);
        }
        else
        {
            _c.ModRmRegister(reg, rm);
        }

        EmitImmediate(i);
        if (vvvv == T1 && (isMulx || i->Form == OperandForm.VvvvRm))
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Vvvv), HostRegister.Rcx);
        }

        if (i->Form != OperandForm.VvvvRm && reg == T0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Reg), HostRegister.Rdi);
        }
    }
}
