using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Platform;

namespace Vitro.UnitTests.Hypervisor.Software.Differential;

/// <summary>All the state one instruction may use, laid out for the emitted code.</summary>
internal unsafe struct RegisterFile
{
    public fixed byte Fx[512];
    public fixed ulong Gpr[16];
    public ulong Flags;

    /// <summary>Upper halves of YMM.</summary>
    public fixed byte Uppers[256];
}

/// <summary>Runs one instruction on the host's processor with every register as given.</summary>
internal sealed unsafe class NativeProcessor : IDisposable
{
    private const int HostStack = 0;
    private const int Input = 0x10000;
    private const int Output = 0x20000;
    private const int Code = 0x30000;
    private const int GprOffset = 512;
    private const int FlagsOffset = GprOffset + (16 * 8);
    private const int UppersOffset = FlagsOffset + 8;

    private readonly ExecutableMemory _memory = ExecutableMemory.Create("vitro-differential", 0x40000);

    internal RegisterFile* In => (RegisterFile*)(_memory.Writable + Input);

    internal RegisterFile* Out => (RegisterFile*)(_memory.Writable + Output);

    public void Dispose() => _memory.Dispose();

    internal void Run(ReadOnlySpan<byte> instruction)
    {
        var code = new CodeEmitter(_memory, Code, 0x1000);
        foreach (var register in (ReadOnlySpan<HostRegister>)
            [HostRegister.Rbx, HostRegister.Rbp, HostRegister.R12, HostRegister.R13, HostRegister.R14, HostRegister.R15])
        {
            code.Push(register);
        }

        Data(ref code, true, 0x89, (int)HostRegister.Rsp, HostStack);
        Fx(ref code, 1, Input);
        for (var register = 0; register < 16 && Avx.IsSupported; register++)
        {
            code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x18, false, true, register, register, 0, 0); // vinsertf128
            RipRelative(ref code, register, Input + UppersOffset + (16 * register), following: 1);
            code.Byte(1);
        }

        Data(ref code, true, 0x8D, (int)HostRegister.Rsp, Input + FlagsOffset); // lea
        code.PopFlags();
        for (var register = 0; register < 16; register++)
        {
            Data(ref code, true, 0x8B, register, Input + GprOffset + (8 * register));
        }

        code.Bytes(instruction);
        for (var register = 0; register < 16; register++)
        {
            Data(ref code, true, 0x89, register, Output + GprOffset + (8 * register));
        }

        Data(ref code, true, 0x8D, (int)HostRegister.Rsp, Output + FlagsOffset + 8);
        code.PushFlags();
        Fx(ref code, 0, Output);
        for (var register = 0; register < 16 && Avx.IsSupported; register++)
        {
            code.VexOpcode(OpcodePrefix.OperandSize, OpcodeMap.Escape0F3A, 0x19, false, true, register, 0, 0, 0); // vextractf128
            RipRelative(ref code, register, Output + UppersOffset + (16 * register), following: 1);
            code.Byte(1);
        }

        if (Avx.IsSupported)
        {
            code.Bytes([0xC5, 0xF8, 0x77]); // vzeroupper
        }

        code.Bytes([0xDB, 0xE3, 0xFC]); // fninit, cld
        Data(ref code, true, 0x8B, (int)HostRegister.Rsp, HostStack);
        code.Bytes([0x68, 0x80, 0x1F, 0, 0, 0x0F, 0xAE, 0x14, 0x24, 0x58]); // push 1F80h; ldmxcsr [rsp]; pop rax
        foreach (var register in (ReadOnlySpan<HostRegister>)
            [HostRegister.R15, HostRegister.R14, HostRegister.R13, HostRegister.R12, HostRegister.Rbp, HostRegister.Rbx])
        {
            code.Pop(register);
        }

        code.Return();
        ((delegate* unmanaged<void>)(_memory.Executable + Code))();
    }

    private void Data(ref CodeEmitter code, bool wide, int opcode, int register, int offset)
    {
        code.Opcode(OpcodePrefix.None, OpcodeMap.Primary, opcode, wide, register, 0, 0);
        RipRelative(ref code, register, offset);
    }

    private void Fx(ref CodeEmitter code, int extension, int offset)
    {
        code.Opcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0xAE, true, extension, 0, 0);
        RipRelative(ref code, extension, offset);
    }

    private void RipRelative(ref CodeEmitter code, int reg, int offset, int following = 0)
    {
        code.Byte(((reg & 7) << 3) | 5);
        code.Int32((int)(_memory.Writable + offset - (code.Executable + 4 + following)));
    }
}
