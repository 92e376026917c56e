using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// SYSCALL, SYSRET and IRET between 64-bit code of the kernel and of programs, as operating systems use them: flat segments, no
/// single step, nothing that waits for them to end. RDI is the record of the instruction, with which all others leave for the interpreter.
/// </summary>
internal static unsafe class SystemStubs
{
    private const int Kernel = 0;
    private const int User = 1;
    private const int Cs = 1;
    private const int Ss = 2;
    private const int DplMask = 3 << SegmentBits.DplShift;

    private const uint Mode64 =
        (uint)(VpMode.Code64 | VpMode.Protected | VpMode.LongMode | VpMode.FlatSegments) | CodeCache.Plain;

    // A flat segment's descriptor but for its DPL: accessed, with a limit of 4 GiB, 64-bit code and data to write.
    private const ulong CodeDescriptor = 0x00AF_9B00_0000_FFFF;
    private const ulong DataDescriptor = 0x00CF_9300_0000_FFFF;
    private const int DescriptorDpl = 45;

    private const HostRegister Rax = HostRegister.Rax;
    private const HostRegister Rcx = HostRegister.Rcx;
    private const HostRegister Rdx = HostRegister.Rdx;
    private const HostRegister Rdi = HostRegister.Rdi;
    private const HostRegister Sp = HostRegister.Rsp;
    private const HostRegister GuestRcx = HostRegister.R10;
    private const HostRegister GuestRsp = HostRegister.R15;

    /// <summary>SYSCALL; RCX is the address behind it.</summary>
    public static void EmitSyscall(ref CodeEmitter code, byte* leave)
    {
        var failures = stackalloc nint[4];
        var count = 0;
        code.Store64(Sp, StateLayout.ParkedRax, Rax);
        TranslationStubs.EmitFlagsToAx(ref code);
        TestWord(ref code, StateLayout.Efer, (int)ControlBits.EferSyscall);
        failures[count++] = Branch(ref code, Zero);
        TestWord(ref code, StateLayout.SystemFlags, (int)(RFlags.Ac | RFlags.Tf));
        failures[count++] = Branch(ref code, NotZero);
        CompareWord(ref code, StateLayout.TableMode(Kernel), (int)Mode64);
        failures[count++] = Branch(ref code, NotZero);
        code.Move64(GuestRcx, Rcx);
        code.Bytes(0x0F, 0xB6, 0xFC); // movzx edi, ah
        code.Arithmetic32(4, Rdi, (int)(LazyFlags.All & 0xFF));
        code.Bytes(0x0F, 0xB6, 0xC8); // movzx ecx, al
        code.Bytes(0xC1, 0xE1, 0x0B); // shl ecx, 11
        code.Bytes(0x09, 0xCF); // or edi, ecx
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x0B, false, (int)Rdi, Sp, StateLayout.SystemFlags); // or
        code.Arithmetic32(4, Rdi, unchecked((int)~RFlags.Rf));
        code.Store64(Sp, StateLayout.Gpr(11), Rdi);
        code.Load32(Rcx, Sp, StateLayout.SyscallMask);
        code.Bytes(0xF7, 0xD1); // not ecx
        code.Bytes(0x21, 0xCF); // and edi, ecx
        code.Bytes(0x89, 0xF9); // mov ecx, edi
        EmitSetSystemFlags(ref code);
        EmitArithmeticToAx(ref code);
        code.Load32(Rcx, Sp, StateLayout.Star + 4);
        code.Arithmetic32(4, Rcx, 0xFFFC);
        EmitFlatSegment(ref code, Cs, 0, 0);
        EmitFlatSegment(ref code, Ss, 8, 0);
        EmitEnterPrivilege(ref code, Kernel);
        code.Load64(Rdi, Sp, StateLayout.Lstar);
        EmitJump(ref code, Kernel);
        EmitFailures(ref code, new ReadOnlySpan<nint>(failures, count));
        VectorStubs.EmitRestoreFlags(ref code);
        EmitLeave(ref code, leave);
    }

    /// <summary>SYSRET with a 64-bit operand, at CPL 0. The arithmetic flags are nobody's.</summary>
    public static void EmitSysret(ref CodeEmitter code, byte* leave)
    {
        var failures = stackalloc nint[8];
        var count = 0;
        TestWord(ref code, StateLayout.Efer, (int)ControlBits.EferSyscall);
        failures[count++] = Branch(ref code, Zero);
        TestWord(ref code, StateLayout.Gpr(11), (int)(RFlags.Ac | RFlags.Tf));
        failures[count++] = Branch(ref code, NotZero);
        VectorStubs.CompareZero(ref code, StateLayout.DeferredRequests);
        failures[count++] = Branch(ref code, NotZero);
        CompareWord(ref code, StateLayout.TableMode(User), (int)Mode64);
        failures[count++] = Branch(ref code, NotZero);
        code.Move64(Rcx, GuestRcx);
        failures[count++] = EmitCanonicalTest(ref code, Rcx);
        code.Store64(Sp, StateLayout.ParkedRax, Rax);
        code.Load32(Rdi, Sp, StateLayout.Gpr(11));
        code.Arithmetic32(4, Rdi, (int)(RFlags.Defined & ~(RFlags.Rf | RFlags.Vm)));
        code.Bytes(0x89, 0xF9); // mov ecx, edi
        EmitSetSystemFlags(ref code);
        EmitArithmeticToAx(ref code);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Escape0F, 0xB7, false, (int)Rcx, Sp, StateLayout.Star + 6); // movzx
        EmitFlatSegment(ref code, Cs, 16, 3);
        EmitFlatSegment(ref code, Ss, 8, 3);
        EmitEnterPrivilege(ref code, User);
        code.Move64(Rdi, GuestRcx);
        EmitJump(ref code, User);
        EmitFailures(ref code, new ReadOnlySpan<nint>(failures, count));
        EmitLeave(ref code, leave);
    }

    /// <summary>IRET with a 64-bit operand, at CPL 0. The arithmetic flags are nobody's.</summary>
    public static void EmitIret(ref CodeEmitter code, byte* leave)
    {
        var failures = stackalloc nint[32];
        var count = 0;
        code.Store64(Sp, StateLayout.Parked, Rdi);
        code.Store64(Sp, StateLayout.ParkedRax, Rax);
        code.Store64(Sp, StateLayout.Gpr(2), Rdx);
        TestWord(ref code, StateLayout.SystemFlags, (int)RFlags.Nt);
        failures[count++] = Branch(ref code, NotZero);
        VectorStubs.CompareZero(ref code, StateLayout.NmiBlocked);
        failures[count++] = Branch(ref code, NotZero);
        TestWord(ref code, StateLayout.DeferredRequests, ~(int)VpRequest.Interrupt);
        failures[count++] = Branch(ref code, NotZero);

        // RAX is where the frame lies in the host.
        code.Move64(Rdi, GuestRsp);
        failures[count++] = EmitLookup(ref code, StateLayout.LoadTlb, 40);
        code.Bytes(0x48, 0x8D, 0x04, 0x0F); // lea rax, [rdi + rcx]
        code.Bytes(0xF7, 0x40, 16); // test dword [rax + 16], flags
        code.Int32((int)(RFlags.Tf | RFlags.Nt));
        failures[count++] = Branch(ref code, NotZero);

        // An interrupt that waits for IF goes on waiting where the frame does not set it.
        code.Bytes([0xF7, 0x40, 16]); // test dword [rax + 16], IF
        code.Int32((int)RFlags.If);
        var isMasked = Branch(ref code, Zero);
        VectorStubs.CompareZero(ref code, StateLayout.DeferredRequests);
        failures[count++] = Branch(ref code, NotZero);
        VectorStubs.Land(ref code, (int*)isMasked);
        code.Load64(Rcx, Rax, 0);
        failures[count++] = EmitCanonicalTest(ref code, Rcx);
        code.Bytes(0x0F, 0xB7, 0x50, 8); // movzx edx, word [rax + 8]
        code.Bytes(0xF6, 0xC2, 0x03); // test dl, 3
        var toKernel = Branch(ref code, Zero);

        code.Bytes(0xF7, 0x40, 16); // test dword [rax + 16], AC
        code.Int32((int)RFlags.Ac);
        failures[count++] = Branch(ref code, NotZero);
        CompareWord(ref code, StateLayout.TableMode(User), (int)Mode64);
        failures[count++] = Branch(ref code, NotZero);
        EmitDescriptorTest(ref code, CodeDescriptor, 3, failures, ref count);
        foreach (var segment in (ReadOnlySpan<int>)[0, 3, 4, 5])
        {
            // It would be dropped if a program may not use it: neither null nor with DPL 3.
            code.Load32(Rcx, Sp, StateLayout.SegmentLimit(segment) + 4);
            code.Arithmetic32(4, Rcx, (int)SegmentBits.Unusable | DplMask);
            code.Arithmetic32(7, Rcx, DplMask);
            failures[count++] = Branch(ref code, Below);
        }

        code.Bytes(0x0F, 0xB7, 0x50, 32); // movzx edx, word [rax + 32]
        EmitDescriptorTest(ref code, DataDescriptor, 3, failures, ref count);
        EmitReturnSegments(ref code, 3);
        EmitReturnFlags(ref code);
        EmitEnterPrivilege(ref code, User);
        EmitReturnJump(ref code, User);

        // Within the kernel, whose stack segment may be null.
        VectorStubs.Land(ref code, (int*)toKernel);
        CompareWord(ref code, StateLayout.TableMode(Kernel), (int)Mode64);
        failures[count++] = Branch(ref code, NotZero);
        EmitDescriptorTest(ref code, CodeDescriptor, 0, failures, ref count);
        code.Bytes(0x0F, 0xB7, 0x50, 32); // movzx edx, word [rax + 32]
        code.Bytes(0x85, 0xD2); // test edx, edx
        var isNull = Branch(ref code, Zero);
        EmitDescriptorTest(ref code, DataDescriptor, 0, failures, ref count);
        EmitReturnSegments(ref code, 0);
        var isSet = Jump(ref code);
        VectorStubs.Land(ref code, (int*)isNull);
        EmitReturnSegments(ref code, 0);
        SetSegment(ref code, Ss, 0, (long)SegmentBits.Unusable << 32);
        VectorStubs.Land(ref code, isSet);
        EmitReturnFlags(ref code);
        TestWord(ref code, StateLayout.SystemFlags, (int)RFlags.Ac);
        var isSuspended = Branch(ref code, NotZero);
        Copy(ref code, StateLayout.LoadTlb, StateLayout.KernelLoadTlb);
        Copy(ref code, StateLayout.StoreTlb, StateLayout.KernelStoreTlb);
        var isSelected = Jump(ref code);
        VectorStubs.Land(ref code, (int*)isSuspended);
        Copy(ref code, StateLayout.LoadTlb, StateLayout.SuspendedLoadTlb);
        Copy(ref code, StateLayout.StoreTlb, StateLayout.SuspendedStoreTlb);
        VectorStubs.Land(ref code, isSelected);
        EmitReturnJump(ref code, Kernel);

        EmitFailures(ref code, new ReadOnlySpan<nint>(failures, count));
        code.Load64(Rax, Sp, StateLayout.ParkedRax);
        code.Load64(Rdx, Sp, StateLayout.Gpr(2));
        code.Load64(Rdi, Sp, StateLayout.Parked);
        EmitLeave(ref code, leave);
    }

    // RAX is the frame; CS and SS get its numbers and are flat.
    private static void EmitReturnSegments(ref CodeEmitter code, int dpl)
    {
        code.Bytes(0x0F, 0xB7, 0x48, 8); // movzx ecx, word [rax + 8]
        code.Store32(Sp, StateLayout.Selector(Cs), Rcx);
        SetSegment(ref code, Cs, 0, FlatLimit(Cs, dpl));
        code.Bytes(0x0F, 0xB7, 0x48, 32); // movzx ecx, word [rax + 32]
        code.Store32(Sp, StateLayout.Selector(Ss), Rcx);
        SetSegment(ref code, Ss, 0, FlatLimit(Ss, dpl));
    }

    // The frame's RSP, and its flags but for RF; the address to return to is parked.
    private static void EmitReturnFlags(ref CodeEmitter code)
    {
        const uint Kept = RFlags.Vif | RFlags.Vip;
        code.Load64(GuestRsp, Rax, 24);
        code.Load64(Rcx, Rax, 0);
        code.Store64(Sp, StateLayout.Parked, Rcx);
        code.Load32(Rdi, Rax, 16);
        code.Arithmetic32(4, Rdi, (int)(RFlags.Defined & ~(RFlags.Rf | RFlags.Vm | Kept)));
        code.Load32(Rcx, Sp, StateLayout.SystemFlags);
        code.Arithmetic32(4, Rcx, (int)Kept);
        code.Bytes(0x09, 0xF9); // or ecx, edi
        EmitSetSystemFlags(ref code);
        EmitArithmeticToAx(ref code);
        code.Load64(Rdx, Sp, StateLayout.Gpr(2));
    }

    private static void EmitReturnJump(ref CodeEmitter code, uint privilege)
    {
        code.Load64(Rdi, Sp, StateLayout.Parked);
        EmitJump(ref code, privilege);
    }

    // EDX is a number in the GDT of a privilege level; leaves unless that is what the descriptor says. Uses RDI and RCX.
    private static void EmitDescriptorTest(ref CodeEmitter code, ulong descriptor, int dpl, nint* failures, ref int count)
    {
        code.Bytes(0x89, 0xD1); // mov ecx, edx
        code.Bytes(0x83, 0xE1, 0x07); // and ecx, 7
        code.Bytes(0x83, 0xF9, dpl); // cmp ecx, dpl
        failures[count++] = Branch(ref code, NotZero);
        code.Bytes(0x89, 0xD1); // mov ecx, edx
        code.Bytes(0x83, 0xC9, 0x07); // or ecx, 7
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x3B, false, (int)Rcx, Sp, StateLayout.GdtLimit); // cmp
        failures[count++] = Branch(ref code, Above);
        code.Bytes(0x83, 0xE1, 0xF8); // and ecx, -8
        code.Load64(Rdi, Sp, StateLayout.GdtBase);
        code.Bytes(0x48, 0x01, 0xCF); // add rdi, rcx
        failures[count++] = EmitLookup(ref code, StateLayout.KernelLoadTlb, 8);
        code.Bytes(0x48, 0x8B, 0x0C, 0x0F); // mov rcx, [rdi + rcx]
        code.MoveImmediate64(Rdi, (long)(descriptor | ((ulong)dpl << DescriptorDpl)));
        code.Bytes(0x48, 0x39, 0xF9); // cmp rcx, rdi
        failures[count++] = Branch(ref code, NotZero);
    }

    // RDI is a linear address, and RDI + RCX afterwards where it lies in the host. The result is the branch taken when a TLB set does not know it.
    private static nint EmitLookup(ref CodeEmitter code, int set, int size)
    {
        code.Bytes(0x89, 0xF9, 0xC1, 0xE9, 0x08); // mov ecx, edi; shr ecx, 8
        code.Arithmetic32(4, Rcx, (TlbEntry.SetSize - 1) << 4);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x03, true, (int)Rcx, Sp, set); // add
        code.Bytes(0x48, 0x2B, 0x39); // sub rdi, [rcx]
        code.Bytes(0x48, 0x81, 0xFF); // cmp rdi, 4096 - size
        code.Int32(4096 - size);
        var miss = Branch(ref code, Above);
        code.Load64(Rcx, Rcx, 8);
        return miss;
    }

    // Destroys the address; the result is the branch taken when it is not canonical.
    private static nint EmitCanonicalTest(ref CodeEmitter code, HostRegister address)
    {
        code.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xC1, true, 0, 0, (int)address);
        code.ModRmRegister(7, (int)address);
        code.Byte(47); // sar
        code.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0xFF, true, 0, 0, (int)address);
        code.ModRmRegister(0, (int)address); // inc
        code.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x83, true, 0, 0, (int)address);
        code.ModRmRegister(7, (int)address);
        code.Byte(1); // cmp
        return Branch(ref code, Above);
    }

    // ECX are all flags.
    private static void EmitSetSystemFlags(ref CodeEmitter code)
    {
        code.Arithmetic32(4, Rcx, unchecked((int)~(LazyFlags.All | RFlags.Rf)));
        code.Arithmetic32(1, Rcx, (int)RFlags.Fixed);
        code.Store32(Sp, StateLayout.SystemFlags, Rcx);
    }

    // EDI are all flags: the arithmetic ones to AH and AL.
    private static void EmitArithmeticToAx(ref CodeEmitter code)
    {
        code.Bytes(0x89, 0xF8); // mov eax, edi
        code.Bytes(0x88, 0xC4); // mov ah, al
        code.Bytes(0xC1, 0xEF, 0x0B); // shr edi, 11
        code.Bytes(0x83, 0xE7, 0x01); // and edi, 1
        code.Bytes(0x40, 0x88, 0xF8); // mov al, dil
    }

    // RCX is the number that STAR has.
    private static void EmitFlatSegment(ref CodeEmitter code, int segment, int distance, int dpl)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, false, (int)Rdi, Rcx, distance); // lea
        code.Arithmetic32(1, Rdi, dpl);
        code.Store32(Sp, StateLayout.Selector(segment), Rdi);
        SetSegment(ref code, segment, 0, FlatLimit(segment, dpl));
    }

    private static long FlatLimit(int segment, int dpl)
    {
        var attributes = segment == Cs ? 0x9B | SegmentBits.Long : 0x93 | SegmentBits.Big;
        return ((long)(attributes | SegmentBits.Granularity | ((uint)dpl << SegmentBits.DplShift)) << 32) | uint.MaxValue;
    }

    private static void SetSegment(ref CodeEmitter code, int segment, int origin, long limit)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, true, 0, Sp, StateLayout.SegmentBase(segment));
        code.Int32(origin);
        code.MoveImmediate64(Rdi, limit);
        code.Store64(Sp, StateLayout.SegmentLimit(segment), Rdi);
    }

    private static void EmitEnterPrivilege(ref CodeEmitter code, uint privilege)
    {
        VectorStubs.SetWord(ref code, StateLayout.Cpl, privilege == Kernel ? 0 : 3);
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x81, false, privilege == Kernel ? 4 : 1, Sp, StateLayout.Mode); // and, or
        code.Int32(privilege == Kernel ? ~(int)VpMode.User : (int)VpMode.User);
        Copy(ref code, StateLayout.FetchTlb, privilege == Kernel ? StateLayout.KernelFetchTlb : StateLayout.UserFetchTlb);
        Copy(ref code, StateLayout.LoadTlb, privilege == Kernel ? StateLayout.KernelLoadTlb : StateLayout.UserLoadTlb);
        Copy(ref code, StateLayout.StoreTlb, privilege == Kernel ? StateLayout.KernelStoreTlb : StateLayout.UserStoreTlb);
    }

    // To RDI, with the flags in AX and RAX parked.
    private static void EmitJump(ref CodeEmitter code, uint privilege)
    {
        VectorStubs.EmitRestoreFlags(ref code);
        code.Bytes(0x0F, 0xB7, 0xCF); // movzx ecx, di
        code.Bytes(0xFF, 0xA4, 0xCC); // jmp [rsp + rcx * 8 + table]
        code.Int32(StateLayout.JumpTable(privilege));
    }

    private static void EmitLeave(ref CodeEmitter code, byte* leave)
    {
        code.Byte(0xE9);
        code.Int32((int)(leave - (code.Executable + 4)));
    }

    private static void EmitFailures(ref CodeEmitter code, scoped ReadOnlySpan<nint> failures)
    {
        foreach (var failure in failures)
        {
            VectorStubs.Land(ref code, (int*)failure);
        }
    }

    private static void Copy(ref CodeEmitter code, int to, int from)
    {
        code.Load64(Rcx, Sp, from);
        code.Store64(Sp, to, Rcx);
    }

    private static void TestWord(ref CodeEmitter code, int field, int mask)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, Sp, field);
        code.Int32(mask);
    }

    private static void CompareWord(ref CodeEmitter code, int field, int value)
    {
        code.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x81, false, 7, Sp, field);
        code.Int32(value);
    }

    private static int* Jump(ref CodeEmitter code)
    {
        code.Byte(0xE9);
        var place = (int*)code.Cursor;
        code.Int32(0);
        return place;
    }

    private const int Zero = 0x84;
    private const int NotZero = 0x85;
    private const int Below = 0x82;
    private const int Above = 0x87;

    private static nint Branch(ref CodeEmitter code, int opcode) => (nint)VectorStubs.Branch(ref code, opcode);
}
