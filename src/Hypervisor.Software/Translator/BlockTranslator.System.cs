using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>System instructions of the kernel that need no more than the state: flags, SWAPGS, segment numbers.</content>
internal unsafe ref partial struct BlockTranslator
{
    // Whether an instruction of the system range becomes host code. Code of CPL 1 and 2 is not translated.
    private static bool IsNativeSystem(DecodedInstruction* i, uint privilege)
    {
        switch (i->Operation)
        {
            case Operation.Cld or Operation.Std:
                return true;
            case Operation.Pushf:
                return i->OperandSize != 2;
            case Operation.MovFromSegment:
                return true;
            case Operation.Popf:
                return privilege == 0 && i->OperandSize != 2;
            case Operation.MovFromControl:
                return privilege == 0 && i->Reg is 0 or 2 or 3 or 4;
            case Operation.Rdfsbase or Operation.Rdgsbase or Operation.Wrfsbase or Operation.Wrgsbase:
                return i->OperandSize == 8;
            case Operation.Rdtsc or Operation.Rdtscp:
                return true;
            case Operation.Syscall:
                return privilege == 1;
            case Operation.Sysret or Operation.Iret:
                return privilege == 0 && i->OperandSize == 8;
            case Operation.Cli or Operation.Sti or Operation.Swapgs or Operation.Stac or Operation.Clac:
                return privilege == 0;
            default:
                return false;
        }
    }

    private void EmitSystem(DecodedInstruction* i)
    {
        switch (i->Operation)
        {
            case Operation.Cld:
                EmitClearSystemFlag(RFlags.Df);
                break;
            case Operation.Std:
                EmitSetSystemFlag(RFlags.Df);
                break;
            case Operation.Cli:
                EmitClearSystemFlag(RFlags.If);
                break;
            case Operation.Sti:
                ParkLiveFlags();
                EmitLeaveIfDeferred();
                EmitSetSystemFlag(RFlags.If);
                _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xC7, false, 0, HostRegister.Rsp, StateLayout.InterruptShadow);
                _c.Int32(1);
                break;
            case Operation.Stac:
                EmitSetSystemFlag(RFlags.Ac);
                EmitCopyState(StateLayout.LoadTlb, StateLayout.SuspendedLoadTlb);
                EmitCopyState(StateLayout.StoreTlb, StateLayout.SuspendedStoreTlb);
                break;
            case Operation.Clac:
                EmitClearSystemFlag(RFlags.Ac);
                EmitCopyState(StateLayout.LoadTlb, StateLayout.KernelLoadTlb);
                EmitCopyState(StateLayout.StoreTlb, StateLayout.KernelStoreTlb);
                break;
            case Operation.Swapgs:
                _c.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.GsBase);
                EmitCopyState(StateLayout.GsBase, StateLayout.KernelGsBase);
                _c.Store64(HostRegister.Rsp, StateLayout.KernelGsBase, HostRegister.Rdi);
                break;
            case Operation.MovFromSegment:
                EmitMoveFromSegment(i);
                break;
            case Operation.MovFromControl:
                EmitLoadState(i->Rm, StateLayout.Control(i->Reg));
                break;
            case Operation.Rdfsbase or Operation.Rdgsbase or Operation.Wrfsbase or Operation.Wrgsbase:
                EmitSegmentBase(i);
                break;
            case Operation.Pushf:
                EmitPushFlags();
                break;
            case Operation.Rdtsc or Operation.Rdtscp:
                EmitReadTsc(i);
                break;
            default:
                EmitPopFlags();
                break;
        }
    }

    // SYSCALL, SYSRET and IRET end the block.
    private void EmitPrivilegeChange(DecodedInstruction* i)
    {
        RestoreFlags(scratchFree: true);
        if (i->Operation == Operation.Syscall)
        {
            EmitConstant(T1, AddressOf((ulong)(i->Offset + i->Length)));
        }

        _ = EmitToRecordApart(i->Operation switch
        {
            Operation.Syscall => _owner.Syscall,
            Operation.Sysret => _owner.Sysret,
            _ => _owner.Iret,
        });
    }

    private void EmitReadTsc(DecodedInstruction* i)
    {
        if (_in.Vectors != VectorNeed.None || _in.X87)
        {
            EmitInterpret();
            return;
        }

        RestoreFlags(scratchFree: true);
        var record = EmitToRecordApart(_owner.ReadTsc);
        record->Retry = Distance(record, _c.Cursor);
        if (i->Operation == Operation.Rdtscp)
        {
            _c.Load64((HostRegister)HomeOf(1), HostRegister.Rsp, StateLayout.TscAux);
        }

        // The interpreter has done all of it.
        record->Resume = Distance(record, _c.Cursor);
    }

    // lea rdi, [record, which lies among what is seldom executed]; jmp stub. The present instruction is to be interpreted, if the stub cannot do it.
    private ExitRecord* EmitToRecordApart(byte* stub)
    {
        var record = (ExitRecord*)_cold.Cursor;
        Mark(record, ExitKind.Interpret, OffsetOf(_index));
        record->Resume = 0;
        _cold.Skip(sizeof(ExitRecord));
        _c.Bytes(0x48, 0x8D, 0x3D);
        _c.Int32((int)((byte*)record - (_c.Cursor + 4)));
        EmitJump(stub);
        return record;
    }

    private void EmitSetSystemFlag(uint flag)
    {
        ParkLiveFlags();
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x81, false, 1, HostRegister.Rsp, StateLayout.SystemFlags);
        _c.Int32((int)flag);
    }

    private void EmitClearSystemFlag(uint flag)
    {
        ParkLiveFlags();
        EmitStateAnd(~flag);
    }

    // What waits for RFLAGS.IF is the interpreter's to see to.
    private void EmitLeaveIfDeferred()
    {
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x83, false, 7, HostRegister.Rsp, StateLayout.DeferredRequests); // cmp 0
        _c.Byte(0);
        EmitColdBranch(0x85);
    }

    private void EmitCopyState(int to, int from)
    {
        _c.Load64(HostRegister.Rcx, HostRegister.Rsp, from);
        _c.Store64(HostRegister.Rsp, to, HostRegister.Rcx);
    }

    private void EmitMoveFromSegment(DecodedInstruction* i)
    {
        var selector = StateLayout.Selector(i->Reg & 7);
        if (i->IsMemory)
        {
            EmitMemory(i, true, 2);
            _c.Bytes(0x48, 0x8D, 0x3C, 0x0F); // lea rdi, [rdi + rcx]
            _c.Load32(HostRegister.Rcx, HostRegister.Rsp, selector);
            _c.Bytes(0x66, 0x89, 0x0F); // mov [rdi], cx
            return;
        }

        if (i->OperandSize == 2)
        {
            var half = Fetch(i->Rm, T0);
            _c.Load32(HostRegister.Rcx, HostRegister.Rsp, selector);
            _c.Byte(0x66);
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, false, half, 0, T1); // mov half, cx
            _c.ModRmRegister(half, T1);
            StoreSpilled(i->Rm, half);
            return;
        }

        var home = Located(i->Rm, T0);
        _c.Load32((HostRegister)home, HostRegister.Rsp, selector);
        StoreSpilled(i->Rm, home);
    }

    private void EmitLoadState(int guestRegister, int place)
    {
        var home = Located(guestRegister, T0);
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, _isCode64, home, HostRegister.Rsp, place);
        StoreSpilled(guestRegister, home);
    }

    private void StoreSpilled(int guestRegister, byte location)
    {
        if (location == T0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(guestRegister), HostRegister.Rdi);
        }
    }

    private void EmitSegmentBase(DecodedInstruction* i)
    {
        var place = i->Operation is Operation.Rdfsbase or Operation.Wrfsbase ? StateLayout.FsBase : StateLayout.GsBase;
        ParkLiveFlags();
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0xF7, false, 0, HostRegister.Rsp, StateLayout.Cr4); // test
        _c.Int32((int)ControlBits.Cr4Fsgsbase);
        EmitColdBranch(0x84);
        if (i->Operation is Operation.Rdfsbase or Operation.Rdgsbase)
        {
            EmitLoadState(i->Rm, place);
            return;
        }

        // Canonical addresses only.
        var value = Fetch(i->Rm, T0);
        _c.Move64(HostRegister.Rcx, (HostRegister)value);
        _c.Bytes(0x48, 0xC1, 0xF9, 47); // sar rcx, 47
        _c.Bytes(0x48, 0xFF, 0xC1); // inc rcx
        _c.Bytes(0x48, 0x83, 0xF9, 0x01); // cmp rcx, 1
        EmitColdBranch(0x87);
        _c.Store64(HostRegister.Rsp, place, (HostRegister)value);
    }

    private void EmitPushFlags()
    {
        ParkFlagsInState();
        _c.Load32(HostRegister.Rdi, HostRegister.Rsp, StateLayout.ParkedFlags); // LAHF in AH, OF in AL
        _c.Bytes(0x89, 0xF9); // mov ecx, edi
        _c.Bytes(0xC1, 0xEF, 0x08); // shr edi, 8
        _c.Arithmetic32(4, HostRegister.Rdi, (int)(LazyFlags.All & 0xFF));
        _c.Bytes(0x83, 0xE1, 0x01); // and ecx, 1
        _c.Bytes(0xC1, 0xE1, 0x0B); // shl ecx, 11
        _c.Bytes(0x09, 0xCF); // or edi, ecx
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.SystemFlags);
        _c.Arithmetic32(4, HostRegister.Rcx, unchecked((int)~(RFlags.Vm | RFlags.Rf)));
        _c.Bytes(0x09, 0xCF);
        _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
        EmitStackSlot();
        EmitStoreParked();
        EmitAdjustStack(-Word);
    }

    // Changes of IF only; all else, and interrupts that wait for it, are left to the interpreter.
    private void EmitPopFlags()
    {
        const uint Others = RFlags.Tf | RFlags.Df | RFlags.Iopl | RFlags.Nt | RFlags.Ac | RFlags.Id | RFlags.Vif | RFlags.Vip;
        _flags = FlagsInRegister;
        EmitStackTop(GuestRsp);
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.SystemFlags);
        _c.Bytes(0x31, 0xF9); // xor ecx, edi
        _c.Bytes(0xF7, 0xC1); // test ecx, others
        _c.Int32((int)Others);
        EmitColdBranch(0x85);
        _c.Bytes(0x81, 0xE1); // and ecx, IF
        _c.Int32((int)RFlags.If);
        _c.Bytes(0x74, 0x00); // jz: IF stays
        var skip = _c.Cursor - 1;
        EmitLeaveIfDeferred();
        *skip = (byte)(_c.Cursor - (skip + 1));
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x31, false, T1, HostRegister.Rsp, StateLayout.SystemFlags); // xor
        EmitStateAnd(~RFlags.Rf);
        _c.Move64(HostRegister.Rcx, HostRegister.Rax);
        _c.Bytes(0x89, 0xF8); // mov eax, edi
        _c.Bytes(0x88, 0xC4); // mov ah, al
        _c.Bytes(0xC1, 0xEF, 0x0B); // shr edi, 11
        _c.Bytes(0x83, 0xE7, 0x01); // and edi, 1
        _c.Bytes(0x40, 0x88, 0xF8); // mov al, dil
        TranslationStubs.EmitFlagsFromAx(ref _c);
        _c.Move64(HostRegister.Rax, HostRegister.Rcx);
        EmitAdjustStack(Word);
    }

    private void EmitStateAnd(uint mask)
    {
        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x81, false, 4, HostRegister.Rsp, StateLayout.SystemFlags);
        _c.Int32((int)mask);
    }
}
