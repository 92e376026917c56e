using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// Moves the guest's vector registers and MXCSR between the XSAVE image and the host's registers: in when a block first needs
/// them, out before C# runs, which may use them all. Kernels rarely have them in, so that their exits cost nothing more.
/// </summary>
internal static unsafe class VectorStubs
{
    private const int Osxsave = 18;
    private const int MxcsrMasks = 0x1F80;
    private const int MxcsrFlags = 0x3F;

    /// <summary>Stores the registers if they are in. Flags, RAX and RCX are lost.</summary>
    public static void EmitSave(ref CodeEmitter code)
    {
        CompareZero(ref code, StateLayout.VectorsAbsent);
        var absent = Branch(ref code, 0x85); // jne
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xsave);
        for (var n = 0; n < 16; n++)
        {
            code.StoreVector(HostRegister.Rcx, XsaveArea.Xmm + (16 * n), n);
        }

        if (Avx.IsSupported)
        {
            CompareZero(ref code, StateLayout.AvxAbsent);
            var noAvx = Branch(ref code, 0x85);
            EmitSaveUppers(ref code);
            Land(ref code, noAvx);
            VexZeroUpper(ref code);
        }

        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, false, 3, HostRegister.Rcx, XsaveArea.Mxcsr); // stmxcsr
        SetWord(ref code, StateLayout.VectorsAbsent, 1);
        SetWord(ref code, StateLayout.AvxAbsent, 1);

        // C# wants the default modes; flags do not matter to it.
        code.Load32(HostRegister.Rax, HostRegister.Rcx, XsaveArea.Mxcsr);
        code.Arithmetic32(4, HostRegister.Rax, ~MxcsrFlags);
        code.Arithmetic32(7, HostRegister.Rax, MxcsrMasks);
        var isDefault = Branch(ref code, 0x84); // je
        SetWord(ref code, StateLayout.ParkedRax, MxcsrMasks);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, false, 2, HostRegister.Rsp, StateLayout.ParkedRax); // ldmxcsr
        Land(ref code, isDefault);
        Land(ref code, absent);
    }

    /// <summary>
    /// Loads the registers and goes on where the record at RDI says; leaves with that record when the guest may not use them, or has an
    /// exception unmasked, which the host must not raise. Flags are kept, RDI and RCX are lost.
    /// </summary>
    public static void EmitLoad(ref CodeEmitter code, byte* leave, bool needsAvx)
    {
        code.Store64(HostRegister.Rsp, StateLayout.ParkedRax, HostRegister.Rax);
        TranslationStubs.EmitFlagsToAx(ref code);
        var failures = stackalloc nint[4];
        var count = 0;
        if (needsAvx)
        {
            // Had AVX been enabled when the XMM registers came in, the YMM registers would have come with them.
            CompareZero(ref code, StateLayout.VectorsAbsent);
            failures[count++] = (nint)Branch(ref code, 0x84); // je
        }

        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, HostRegister.Rsp, StateLayout.Mode); // test
        code.Int32((int)VpMode.FpuTrap);
        failures[count++] = (nint)Branch(ref code, 0x85); // jnz
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xsave);
        code.Load32(HostRegister.Rcx, HostRegister.Rcx, XsaveArea.Mxcsr);
        code.Bytes(0xF7, 0xD1); // not ecx
        code.Bytes(0xF7, 0xC1); // test ecx, masks
        code.Int32(MxcsrMasks);
        failures[count++] = (nint)Branch(ref code, 0x85);
        if (Avx.IsSupported)
        {
            code.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Cr4);
            code.Arithmetic32(4, HostRegister.Rcx, 1 << Osxsave);
            var noXsave = Branch(ref code, 0x84);
            code.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xcr0);
            code.Bytes(0xF7, 0xD1); // not ecx
            code.Bytes(0xF6, 0xC1, (byte)(XsaveArea.ComponentSse | XsaveArea.ComponentAvx)); // test cl, components
            var noAvx = Branch(ref code, 0x85);
            SetWord(ref code, StateLayout.AvxAbsent, 0);
            Land(ref code, noXsave);
            Land(ref code, noAvx);
        }

        if (needsAvx)
        {
            CompareZero(ref code, StateLayout.AvxAbsent);
            failures[count++] = (nint)Branch(ref code, 0x85);
        }

        EmitLoadRegisters(ref code);
        SetWord(ref code, StateLayout.VectorsAbsent, 0);
        EmitEnd(ref code, new ReadOnlySpan<nint>(failures, count), leave);
    }

    /// <summary>The end of a stub that loads registers: to where the record at RDI says; failed branches leave with it.</summary>
    internal static void EmitEnd(ref CodeEmitter code, scoped ReadOnlySpan<nint> failures, byte* leave)
    {
        EmitRestoreFlags(ref code);
        code.Bytes(0x48, 0x63, 0x4F, ExitRecord.ResumePlace); // movsxd rcx, [rdi + ExitRecord.Resume]
        code.Bytes(0x48, 0x8D, 0x3C, 0x0F); // lea rdi, [rdi + rcx]
        code.Bytes(0xFF, 0xE7); // jmp rdi
        foreach (var failure in failures)
        {
            Land(ref code, (int*)failure);
        }

        EmitRestoreFlags(ref code);
        code.Byte(0xE9);
        code.Int32((int)(leave - (code.Executable + 4)));
    }

    private static void EmitLoadRegisters(ref CodeEmitter code)
    {
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xsave);
        if (Avx.IsSupported)
        {
            VexZeroUpper(ref code);
        }

        for (var n = 0; n < 16; n++)
        {
            code.LoadVector(n, HostRegister.Rcx, XsaveArea.Xmm + (16 * n));
        }

        if (Avx.IsSupported)
        {
            CompareZero(ref code, StateLayout.AvxAbsent);
            var noAvx = Branch(ref code, 0x85);
            CompareZero(ref code, StateLayout.UppersInUse);
            var noUppers = Branch(ref code, 0x84);
            for (var n = 0; n < 16; n++)
            {
                // vinsertf128 ymm n, ymm n, [rcx + displacement], 1
                code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x18, false, true, n, n, 0, (int)HostRegister.Rcx);
                code.ModRmMemory(n, (int)HostRegister.Rcx, XsaveArea.YmmHigh + (16 * n));
                code.Byte(1);
            }

            Land(ref code, noAvx);
            Land(ref code, noUppers);
        }

        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, false, 2, HostRegister.Rcx, XsaveArea.Mxcsr); // ldmxcsr
    }

    // Upper halves are seldom in use: they are stored only when one of them is, or was.
    private static void EmitSaveUppers(ref CodeEmitter code)
    {
        EmitExtract(ref code, 0);
        for (var n = 1; n < 16; n++)
        {
            // vorps ymm0, ymm0, ymm n
            code.VexOpcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0x56, false, true, 0, 0, 0, n);
            code.ModRmRegister(0, n);
        }

        code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x19, false, true, 0, 0, 0, 0); // vextractf128 xmm0, ymm0, 1
        code.ModRmRegister(0, 0);
        code.Byte(1);
        code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F38, 0x17, false, false, 0, 0, 0, 0); // vptest xmm0, xmm0
        code.ModRmRegister(0, 0);
        code.Bytes(0x0F, 0x95, 0xC0, 0x0F, 0xB6, 0xC0); // setnz al; movzx eax, al
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x09, false, (int)HostRegister.Rax, HostRegister.Rsp, StateLayout.UppersInUse);
        CompareZero(ref code, StateLayout.UppersInUse);
        var never = Branch(ref code, 0x84);
        code.Store32(HostRegister.Rsp, StateLayout.UppersInUse, HostRegister.Rax);
        for (var n = 1; n < 16; n++)
        {
            EmitExtract(ref code, n);
        }

        Land(ref code, never);
    }

    private static void EmitExtract(ref CodeEmitter code, int register)
    {
        // vextractf128 [rcx + displacement], ymm, 1
        code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x19, false, true, register, 0, 0, (int)HostRegister.Rcx);
        code.ModRmMemory(register, (int)HostRegister.Rcx, XsaveArea.YmmHigh + (16 * register));
        code.Byte(1);
    }

    internal static void EmitRestoreFlags(ref CodeEmitter code)
    {
        TranslationStubs.EmitFlagsFromAx(ref code);
        code.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.ParkedRax);
    }

    private static void VexZeroUpper(ref CodeEmitter code) => code.Bytes(0xC5, 0xF8, 0x77);

    internal static void CompareZero(ref CodeEmitter code, int field)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 7, HostRegister.Rsp, field);
        code.Byte(0);
    }

    internal static void SetWord(ref CodeEmitter code, int field, int value)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, false, 0, HostRegister.Rsp, field);
        code.Int32(value);
    }

    internal static int* Branch(ref CodeEmitter code, int opcode)
    {
        code.Byte(0x0F);
        code.Byte(opcode);
        var place = (int*)code.Cursor;
        code.Int32(0);
        return place;
    }

    internal static void Land(ref CodeEmitter code, int* place) => *place = (int)(code.Cursor - ((byte*)place + 4));
}
