using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Thunks;

/// <summary>What names one thunk: everything of the instruction that ends up in its code.</summary>
internal readonly record struct ThunkKey(
    byte Map,
    byte Opcode,
    byte Prefix,
    byte Extension,
    byte Immediate,
    bool Wide,
    bool Memory,
    bool Vex,
    bool Long = false);

/// <summary>
/// Emits host functions that run one guest vector instruction on the host's own registers. Register numbers are not part of
/// a thunk: operands are loaded from where the caller says into fixed registers, so that the number of thunks is bounded by
/// the opcodes whatever guests do.
/// </summary>
/// <remarks>
/// Fixed registers: RDI, RSI, RDX addresses of reg, rm and implicit operand; RCX state; vector reg 1, rm 2, XMM0 the
/// implicit one; general reg R9, rm R8; R10 XSAVE image, R11 the guest's MXCSR. All are the caller's to lose in the System V
/// convention.
/// </remarks>
internal static unsafe partial class ThunkBuilder
{
    /// <summary>No thunk is longer.</summary>
    internal const int MaximumLength = 320;

    private const int Reg = 1;
    private const int Rm = 2;
    private const int GeneralReg = (int)HostRegister.R9;
    private const int GeneralRm = (int)HostRegister.R8;

    // Below RSP lies the System V red zone, safe from signal handlers.
    private const int Scratch = -8;
    private const int MxcsrDefault = 0x1F80;
    private const int MxcsrFlags = 0x3F;
    private const int XsaveMxcsr = 24;

    // MMX registers are the significands of the 16-byte x87 slots; their exponents read as ones after a write.
    private const int MmxExponent = 8;

    private static readonly int XsaveOffset = (int)Marshal.OffsetOf<VpState>(nameof(VpState.Xsave));

    /// <summary>Emits a legacy-encoded instruction.</summary>
    internal static void EmitLegacy(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        if (form.Has(ThunkTraits.EmptyMmx))
        {
            code.Return(); // the caller empties the guest's tags
            return;
        }

        var usesMmx = form.Reg == OperandKind.Mmx || (form.Rm == OperandKind.Mmx && !key.Memory);
        if (form.Has(ThunkTraits.FloatingPoint))
        {
            EmitLoadMxcsr(ref code);
        }

        EmitLoads(ref code, key, form);
        EmitOperation(ref code, key, form);
        if (form.Has(ThunkTraits.SetsFlags))
        {
            code.PushFlags();
            code.Pop(HostRegister.R9);
        }

        if (form.Has(ThunkTraits.FloatingPoint))
        {
            EmitCheckMxcsr(ref code, usesMmx);
        }

        EmitStores(ref code, key, form);
        if (usesMmx)
        {
            EmitEmms(ref code);
        }

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

    private static void EmitLoads(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        if (form.Has(ThunkTraits.ReadsReg))
        {
            EmitLoad(ref code, form.Reg, HostRegister.Rdi, Reg, GeneralReg);
        }

        if (!key.Memory && form.Has(ThunkTraits.ReadsRm))
        {
            EmitLoad(ref code, form.Rm, HostRegister.Rsi, Rm, GeneralRm);
        }

        if (form.Has(ThunkTraits.ImplicitXmm0))
        {
            code.LoadVector(0, HostRegister.Rdx, 0);
        }

        if (form.Has(ThunkTraits.WritesXmm0 | ThunkTraits.WritesRcx | ThunkTraits.ExplicitLengths))
        {
            code.Move64(HostRegister.R10, HostRegister.Rcx);
            code.Move64(HostRegister.R11, HostRegister.Rdx);
        }

        if (form.Has(ThunkTraits.ExplicitLengths))
        {
            code.Load64(HostRegister.Rax, HostRegister.R10, 0);
            code.Load64(HostRegister.Rdx, HostRegister.R10, 2 * 8);
        }

        if (form.Has(ThunkTraits.MaskedStore))
        {
            code.Move64(HostRegister.Rdi, HostRegister.Rdx);
        }
    }

    private static void EmitLoad(ref CodeEmitter code, OperandKind kind, HostRegister address, int vector, int general)
    {
        switch (kind)
        {
            case OperandKind.Xmm:
                code.LoadVector(vector, address, 0);
                break;
            case OperandKind.Mmx:
                code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0x6F, false, vector, address, 0);
                break;
            case OperandKind.General:
                code.Load64((HostRegister)general, address, 0);
                break;
        }
    }

    private static void EmitStore(ref CodeEmitter code, OperandKind kind, HostRegister address, int vector, int general)
    {
        switch (kind)
        {
            case OperandKind.Xmm:
                code.StoreVector(address, 0, vector);
                break;
            case OperandKind.Mmx:
                code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0x7F, false, vector, address, 0);
                code.RegisterMemory(OpcodePrefix.OperandSize, OpcodeMap.Primary, 0xC7, false, 0, address, MmxExponent);
                code.Byte(0xFF);
                code.Byte(0xFF);
                break;
            case OperandKind.General:
                code.Store64(address, 0, (HostRegister)general);
                break;
        }
    }

    private static void EmitOperation(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        var reg = form.Has(ThunkTraits.Group) ? key.Extension : form.Reg == OperandKind.General ? GeneralReg : Reg;
        var rm = key.Memory ? (int)HostRegister.Rsi : form.Rm == OperandKind.General ? GeneralRm : Rm;
        code.Opcode((OpcodePrefix)key.Prefix, (OpcodeMap)key.Map, key.Opcode, key.Wide, reg, 0, rm);
        EmitModRm(ref code, key, form, reg, rm);
    }

    private static void EmitModRm(ref CodeEmitter code, in ThunkKey key, in ThunkForm form, int reg, int rm)
    {
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
            code.Byte(key.Immediate);
        }
    }

    private static void EmitStores(ref CodeEmitter code, in ThunkKey key, in ThunkForm form)
    {
        if (form.Has(ThunkTraits.WritesReg))
        {
            EmitStore(ref code, form.Reg, HostRegister.Rdi, Reg, GeneralReg);
        }

        if (!key.Memory && form.Has(ThunkTraits.WritesRm))
        {
            EmitStore(ref code, form.Rm, HostRegister.Rsi, Rm, GeneralRm);
        }

        if (form.Has(ThunkTraits.WritesXmm0))
        {
            code.StoreVector(HostRegister.R11, 0, 0);
        }

        if (form.Has(ThunkTraits.WritesRcx))
        {
            code.Store64(HostRegister.R10, 8, HostRegister.Rcx);
        }
    }

    /// <summary>Loads the guest's rounding and denormal modes with all exceptions masked and no flag set.</summary>
    private static void EmitLoadMxcsr(ref CodeEmitter code)
    {
        code.Load64(HostRegister.R10, HostRegister.Rcx, XsaveOffset);
        code.Load32(HostRegister.R11, HostRegister.R10, XsaveMxcsr);
        code.Load32(HostRegister.Rax, HostRegister.R10, XsaveMxcsr);
        code.Arithmetic32(1, HostRegister.Rax, MxcsrDefault);
        code.Arithmetic32(4, HostRegister.Rax, ~MxcsrFlags);
        code.Store32(HostRegister.Rsp, Scratch, HostRegister.Rax);
        EmitLdmxcsr(ref code);
    }

    /// <summary>
    /// Adds the raised flags to the guest's MXCSR, gives the host its own back, and leaves the thunk with
    /// <see cref="Thunk.Faulted"/> before anything is stored when the guest has one of them unmasked.
    /// </summary>
    private static void EmitCheckMxcsr(ref CodeEmitter code, bool usesMmx)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, false, 3, HostRegister.Rsp, Scratch); // stmxcsr
        code.Load32(HostRegister.Rax, HostRegister.Rsp, Scratch);
        code.Arithmetic32(4, HostRegister.Rax, MxcsrFlags);
        EmitHostMxcsr(ref code);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x09, false, (int)HostRegister.Rax, HostRegister.R10, XsaveMxcsr); // or [], eax
        code.Bytes(0x41, 0xC1, 0xEB, 0x07); // shr r11d, 7: the masks over the flags
        code.Bytes(0x41, 0xF7, 0xD3); // not r11d
        code.Bytes(0x41, 0x21, 0xC3); // and r11d, eax
        var exit = usesMmx ? 8 : 6;
        code.Bytes([0x74, (byte)exit]); // jz: nothing unmasked
        if (usesMmx)
        {
            EmitEmms(ref code);
        }

        code.Byte(0xB8); // mov eax, Faulted
        code.Int32(unchecked((int)Thunk.Faulted));
        code.Return();
    }

    private static void EmitHostMxcsr(ref CodeEmitter code)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, false, 0, HostRegister.Rsp, Scratch);
        code.Int32(MxcsrDefault);
        EmitLdmxcsr(ref code);
    }

    private static void EmitLdmxcsr(ref CodeEmitter code) =>
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, false, 2, HostRegister.Rsp, Scratch);

    private static void EmitEmms(ref CodeEmitter code) => code.Bytes(0x0F, 0x77);

    private static void EmitZeroRax(ref CodeEmitter code) => code.Bytes(0x31, 0xC0);
}
