using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// RDTSC: the guest's counter made of the host's clock, which its clock is as well, so that both agree. The C library's function is
/// called on the host's stack; it may use vector registers, so that the guest's must not be in them.
/// </summary>
internal static unsafe class TimeStub
{
    private const int NanosecondsPerSecond = 1_000_000_000;
    private const HostRegister Sp = HostRegister.Rsp;

    // What the called function may change, with the guest registers they hold, and RBP, which keeps the state meanwhile.
    private static ReadOnlySpan<HostRegister> Kept =>
        [HostRegister.Rsi, HostRegister.R8, HostRegister.R9, HostRegister.R10, HostRegister.R11, HostRegister.Rbp];

    private static ReadOnlySpan<byte> KeptGuest => [6, 8, 15, 1, 7, 5];

    /// <summary>
    /// Sets RDX and RAX and goes on where the record at RDI says that its instruction is tried again; leaves with it when RDTSC may be
    /// forbidden, or time is not the host's. Flags are kept.
    /// </summary>
    public static void Emit(ref CodeEmitter code, byte* leave, nint clockReader)
    {
        var failures = stackalloc nint[4];
        code.Store64(Sp, StateLayout.ParkedRax, HostRegister.Rax);
        TranslationStubs.EmitFlagsToAx(ref code);
        VectorStubs.CompareZero(ref code, StateLayout.HasHostClock);
        failures[0] = (nint)VectorStubs.Branch(ref code, 0x84); // je
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, Sp, StateLayout.Cr4); // test
        code.Int32((int)ControlBits.Cr4Tsd);
        failures[1] = (nint)VectorStubs.Branch(ref code, 0x85);
        VectorStubs.CompareZero(ref code, StateLayout.VectorsAbsent);
        failures[2] = (nint)VectorStubs.Branch(ref code, 0x84);
        VectorStubs.CompareZero(ref code, StateLayout.X87Absent);
        failures[3] = (nint)VectorStubs.Branch(ref code, 0x84);
        code.Store64(Sp, StateLayout.ParkedFlags, HostRegister.Rax);
        code.Store64(Sp, StateLayout.Parked, HostRegister.Rdi);
        for (var n = 0; n < Kept.Length; n++)
        {
            code.Store64(Sp, StateLayout.Gpr(KeptGuest[n]), Kept[n]);
        }

        // The stack is where Enter left it, 8 bytes off a multiple of 16.
        code.Move64(HostRegister.Rbp, Sp);
        code.Load64(Sp, HostRegister.Rbp, StateLayout.HostStack);
        code.Bytes(0x48, 0x83, 0xEC, 24); // sub rsp, 24
        code.Bytes(0xBF, 0x01, 0x00, 0x00, 0x00); // mov edi, CLOCK_MONOTONIC
        code.Bytes(0x48, 0x89, 0xE6); // mov rsi, rsp
        code.MoveImmediate64(HostRegister.Rax, clockReader);
        code.Bytes(0xFF, 0xD0); // call rax
        code.Bytes(0x48, 0x69, 0x04, 0x24); // imul rax, [rsp], 10^9
        code.Int32(NanosecondsPerSecond);
        code.Bytes(0x48, 0x03, 0x44, 0x24, 0x08); // add rax, [rsp + 8]
        code.Move64(Sp, HostRegister.Rbp);

        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x2B, true, 0, Sp, StateLayout.HostClockOrigin); // sub
        code.Load64(HostRegister.Rcx, Sp, StateLayout.TscFrequency);
        code.Bytes(0x48, 0x81, 0xF9); // cmp rcx, 10^9
        code.Int32(NanosecondsPerSecond);
        var isNanoseconds = VectorStubs.Branch(ref code, 0x84);
        code.Bytes(0x48, 0xF7, 0xE1); // mul rcx
        code.Byte(0xB9);
        code.Int32(NanosecondsPerSecond); // mov ecx, 10^9
        code.Bytes(0x48, 0xF7, 0xF1); // div rcx
        VectorStubs.Land(ref code, isNanoseconds);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x03, true, 0, Sp, StateLayout.TscBase); // add
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x03, true, 0, Sp, StateLayout.TscOffset);
        code.Move64(HostRegister.Rcx, HostRegister.Rax);
        code.Bytes(0x48, 0xC1, 0xE9, 0x20); // shr rcx, 32
        code.Bytes(0x89, 0xC7); // mov edi, eax
        code.Load32(HostRegister.Rax, Sp, StateLayout.ParkedFlags);
        TranslationStubs.EmitFlagsFromAx(ref code);
        code.Bytes(0x89, 0xF8); // mov eax, edi
        code.Bytes(0x89, 0xCA); // mov edx, ecx
        for (var n = 0; n < Kept.Length; n++)
        {
            code.Load64(Kept[n], Sp, StateLayout.Gpr(KeptGuest[n]));
        }

        code.Load64(HostRegister.Rdi, Sp, StateLayout.Parked);
        code.Bytes(0x48, 0x63, 0x4F, ExitRecord.RetryPlace); // movsxd rcx, [rdi + ExitRecord.Retry]
        code.Bytes(0x48, 0x8D, 0x3C, 0x0F); // lea rdi, [rdi + rcx]
        code.Bytes(0xFF, 0xE7); // jmp rdi
        for (var n = 0; n < 4; n++)
        {
            VectorStubs.Land(ref code, (int*)failures[n]);
        }

        VectorStubs.EmitRestoreFlags(ref code);
        code.Byte(0xE9);
        code.Int32((int)(leave - (code.Executable + 4)));
    }
}
