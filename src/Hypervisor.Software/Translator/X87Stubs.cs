using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>The same as <see cref="VectorStubs"/> for the x87 registers, by the host's XSAVE and XRSTOR.</summary>
internal static unsafe class X87Stubs
{
    private const int ExceptionMasks = 0x3F;

    /// <summary>Whether the host has XSAVE enabled.</summary>
    public static bool IsSupported => System.Runtime.Intrinsics.X86.Avx.IsSupported;

    /// <summary>Stores the registers if they are in. Flags, RAX, RCX and RDX are lost.</summary>
    public static void EmitSave(ref CodeEmitter code)
    {
        if (!IsSupported)
        {
            return;
        }

        VectorStubs.CompareZero(ref code, StateLayout.X87Absent);
        var absent = VectorStubs.Branch(ref code, 0x85); // jne
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xsave);
        EmitComponent(ref code);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, true, 4, HostRegister.Rcx, 0); // xsave64

        // In its initial configuration the host takes the component for absent; it is there nevertheless.
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 1, HostRegister.Rcx, XsaveArea.StateBitmap); // or
        code.Byte((int)XsaveArea.ComponentX87);
        code.Load32(HostRegister.Rax, HostRegister.Rsp, StateLayout.X87Opcode);
        code.RegisterMemory(OpcodePrefix.OperandSize, OpcodeMap.Primary, 0x89, false, (int)HostRegister.Rax, HostRegister.Rcx, XsaveArea.LastOpcode);
        code.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.X87Instruction);
        code.Store64(HostRegister.Rcx, XsaveArea.InstructionPointer, HostRegister.Rax);
        code.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.X87Data);
        code.Store64(HostRegister.Rcx, XsaveArea.DataPointer, HostRegister.Rax);
        VectorStubs.SetWord(ref code, StateLayout.X87Absent, 1);
        code.Bytes(0xDB, 0xE3); // fninit
        VectorStubs.Land(ref code, absent);
    }

    /// <summary>
    /// Loads the registers and goes on where the record at RDI says; leaves with that record when the guest may not use them, or has an
    /// exception unmasked, which the host must not raise. Flags are kept, RDI and RCX are lost.
    /// </summary>
    public static void EmitLoad(ref CodeEmitter code, byte* leave)
    {
        if (!IsSupported)
        {
            return;
        }

        code.Store64(HostRegister.Rsp, StateLayout.ParkedRax, HostRegister.Rax);
        TranslationStubs.EmitFlagsToAx(ref code);
        var failures = stackalloc nint[2];
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, HostRegister.Rsp, StateLayout.Mode); // test
        code.Int32((int)VpMode.FpuTrap);
        failures[0] = (nint)VectorStubs.Branch(ref code, 0x85); // jnz
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xsave);
        code.Load32(HostRegister.Rcx, HostRegister.Rcx, XsaveArea.ControlWord);
        code.Bytes(0xF7, 0xD1); // not ecx
        code.Bytes(0xF6, 0xC1, ExceptionMasks); // test cl, masks
        failures[1] = (nint)VectorStubs.Branch(ref code, 0x85);
        code.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdx);
        code.Store32(HostRegister.Rsp, StateLayout.X87Opcode, HostRegister.Rax);
        code.Load64(HostRegister.Rcx, HostRegister.Rsp, StateLayout.Xsave);
        EmitComponent(ref code);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, true, 5, HostRegister.Rcx, 0); // xrstor64
        code.Load64(HostRegister.Rdx, HostRegister.Rcx, XsaveArea.InstructionPointer);
        code.Store64(HostRegister.Rsp, StateLayout.X87Instruction, HostRegister.Rdx);
        code.Load64(HostRegister.Rdx, HostRegister.Rcx, XsaveArea.DataPointer);
        code.Store64(HostRegister.Rsp, StateLayout.X87Data, HostRegister.Rdx);
        code.Load32(HostRegister.Rax, HostRegister.Rsp, StateLayout.X87Opcode); // the flags, parked
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xB7, false, (int)HostRegister.Rdx, HostRegister.Rcx, XsaveArea.LastOpcode);
        code.Store32(HostRegister.Rsp, StateLayout.X87Opcode, HostRegister.Rdx);
        code.Load64(HostRegister.Rdx, HostRegister.Rsp, StateLayout.Parked);
        VectorStubs.SetWord(ref code, StateLayout.X87Absent, 0);
        VectorStubs.EmitEnd(ref code, new ReadOnlySpan<nint>(failures, 2), leave);
    }

    // EDX:EAX for XSAVE and XRSTOR.
    private static void EmitComponent(ref CodeEmitter code)
    {
        code.Bytes(0x31, 0xD2); // xor edx, edx
        code.Byte(0xB8); // mov eax, component
        code.Int32((int)XsaveArea.ComponentX87);
    }
}
