using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Thunks;

/// <content>VEX-encoded instructions: the upper halves of the registers lie behind the lower ones in the XSAVE image.</content>
internal static unsafe partial class ThunkBuilder
{
    private const int Vvvv = 0;
    private const int Selector = 3;
    private const int UpperDistance = XsaveArea.YmmHigh - XsaveArea.Xmm;

    /// <summary>
    /// Emits a VEX-encoded instruction: RDX is the address of the register VEX.vvvv, which without that operand is XMM0. Destinations
    /// are stored whole, since what the instruction does not write is zero.
    /// </summary>
    internal static void EmitVex(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        if (form.Has(ThunkTraits.FloatingPoint))
        {
            EmitLoadMxcsr(ref code);
        }

        if (form.Has(ThunkTraits.ReadsVvvv))
        {
            EmitLoadWide(ref code, key.Long, HostRegister.Rdx, Vvvv);
        }

        if (form.Has(ThunkTraits.RegisterImmediate))
        {
            code.Load64(HostRegister.R10, HostRegister.Rcx, XsaveOffset);
            code.RegisterMemory(
                OpcodePrefix.None, OpcodeMap.Primary, 0x8D, true, (int)HostRegister.R10, HostRegister.R10,
                XsaveArea.Xmm + (16 * (key.Immediate >> 4))); // lea
            EmitLoadWide(ref code, key.Long, HostRegister.R10, Selector);
        }

        EmitLoadVexOperands(ref code, key, form);
        var reg = form.Has(ThunkTraits.Group) ? key.Extension : form.Reg == OperandKind.General ? GeneralReg : Reg;
        var rm = key.Memory ? (int)HostRegister.Rsi : form.Rm == OperandKind.General ? GeneralRm : Rm;
        code.VexOpcode((OpcodePrefix)key.Prefix, (OpcodeMap)key.Map, key.Opcode, key.Wide, key.Long, reg, Vvvv, 0, rm);
        if (key.Memory)
        {
            code.ModRmMemory(reg, rm, 0);
        }
        else
        {
            code.ModRmRegister(reg, rm);
        }

        if (form.Has(ThunkTraits.Immediate))
        {
            code.Byte(form.Has(ThunkTraits.RegisterImmediate) ? (Selector << 4) | (key.Immediate & 15) : key.Immediate);
        }

        if (form.Has(ThunkTraits.SetsFlags))
        {
            code.PushFlags();
            code.Pop(HostRegister.R9);
        }

        if (form.Has(ThunkTraits.FloatingPoint))
        {
            EmitCheckMxcsr(ref code, usesMmx: false);
        }

        EmitVexStores(ref code, key, form);
        code.Bytes(0xC5, 0xF8, 0x77); // vzeroupper
        if (form.Has(ThunkTraits.SetsFlags))
        {
            code.Move64(HostRegister.Rax, HostRegister.R9);
        }
        else
        {
            EmitZeroRax(ref code);
        }

        code.Return();
    }

    private static void EmitLoadVexOperands(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        if (form.Has(ThunkTraits.ReadsReg) && form.Reg == OperandKind.Xmm)
        {
            EmitLoadWide(ref code, key.Long, HostRegister.Rdi, Reg);
        }

        if (!key.Memory && form.Has(ThunkTraits.ReadsRm))
        {
            if (form.Rm == OperandKind.General)
            {
                code.Load64((HostRegister)GeneralRm, HostRegister.Rsi, 0);
            }
            else
            {
                EmitLoadWide(ref code, key.Long, HostRegister.Rsi, Rm);
            }
        }

        if (form.Has(ThunkTraits.WritesXmm0 | ThunkTraits.WritesRcx))
        {
            code.Move64(HostRegister.R10, HostRegister.Rcx);
            code.Move64(HostRegister.R11, HostRegister.Rdx);
        }

        if (form.Has(ThunkTraits.MaskedStore))
        {
            code.Move64(HostRegister.Rdi, HostRegister.Rdx);
        }

        if (form.Has(ThunkTraits.ExplicitLengths))
        {
            code.Load64(HostRegister.Rax, HostRegister.R10, 0);
            code.Load64(HostRegister.Rdx, HostRegister.R10, 2 * 8);
        }
    }

    private static void EmitVexStores(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        if (form.Has(ThunkTraits.WritesReg))
        {
            if (form.Reg == OperandKind.General)
            {
                code.Store64(HostRegister.Rdi, 0, (HostRegister)GeneralReg);
            }
            else
            {
                EmitStoreWide(ref code, HostRegister.Rdi, Reg);
            }
        }

        if (!key.Memory && form.Has(ThunkTraits.WritesRm))
        {
            if (form.Rm == OperandKind.General)
            {
                code.Store64(HostRegister.Rsi, 0, (HostRegister)GeneralRm);
            }
            else
            {
                EmitStoreWide(ref code, HostRegister.Rsi, Rm);
            }
        }

        if (form.Has(ThunkTraits.WritesVvvv))
        {
            EmitStoreWide(ref code, HostRegister.Rdx, Vvvv);
        }

        if (form.Has(ThunkTraits.WritesXmm0))
        {
            EmitStoreWide(ref code, HostRegister.R11, 0);
        }

        if (form.Has(ThunkTraits.WritesRcx))
        {
            code.Store64(HostRegister.R10, 8, HostRegister.Rcx);
        }
    }

    private static void EmitLoadWide(ref CodeEmitter code, bool isLong, HostRegister address, int register)
    {
        code.VexOpcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0x10, false, false, register, 0, 0, (int)address); // vmovups xmm
        code.ModRmMemory(register, (int)address, 0);
        if (isLong)
        {
            code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x18, false, true, register, register, 0, (int)address); // vinsertf128
            code.ModRmMemory(register, (int)address, UpperDistance);
            code.Byte(1);
        }
    }

    private static void EmitStoreWide(ref CodeEmitter code, HostRegister address, int register)
    {
        code.VexOpcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0x11, false, false, register, 0, 0, (int)address);
        code.ModRmMemory(register, (int)address, 0);
        code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x19, false, true, register, 0, 0, (int)address); // vextractf128
        code.ModRmMemory(register, (int)address, UpperDistance);
        code.Byte(1);
    }
}
