using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Engine;
using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>What becomes of each instruction.</content>
internal unsafe ref partial struct BlockTranslator
{
    /// <summary>Whether an instruction becomes host code; all others are left to the interpreter one by one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool IsTranslatable(DecodedInstruction* i, uint privilege, bool isCode64)
    {
        // Most instructions are none of those with conditions.
        if (isCode64 && (i->Operation is >= Operation.Add and <= Operation.Test or Operation.Movzx or Operation.Movsx
            || (i->Operation == Operation.Mov && i->Map == 0)))
        {
            return HasEncodableBytes(i);
        }

        return IsOtherTranslatable(i, privilege, isCode64);
    }

    private static bool IsOtherTranslatable(DecodedInstruction* i, uint privilege, bool isCode64)
    {
        if (!isCode64 && !IsPlainIn32(i))
        {
            return false;
        }

        switch (i->Operation)
        {
            // PAUSE is the interpreter's: it gives the host's processor to whoever is waited for.
            case Operation.Nop or Operation.Fence or Operation.Cbw or Operation.Cwd or Operation.Clc or Operation.Stc
                or Operation.Cmc or Operation.Lahf or Operation.Sahf or Operation.Jcc or Operation.Jmp or Operation.Call or Operation.Ret
                or Operation.JmpIndirect or Operation.Jrcxz or Operation.Loop:
                return true;
            case Operation.CallIndirect:
                return i->IsMemory || i->Rm != 4;
            case Operation.Push or Operation.Leave:
                return i->OperandSize != 2;
            case Operation.Pop:
                return i->OperandSize != 2 && !i->IsMemory;
            case Operation.Lea:
                return i->OperandSize >= 4;
            case Operation.Mov:
                return i->Map == 0 && HasEncodableBytes(i);
            case Operation.Add or Operation.Or or Operation.Adc or Operation.Sbb or Operation.And or Operation.Sub or Operation.Xor
                or Operation.Cmp or Operation.Test or Operation.Movzx or Operation.Movsx or Operation.Inc or Operation.Dec or Operation.Not
                or Operation.Neg or Operation.Mul or Operation.ImulWide or Operation.Imul or Operation.Rol or Operation.Ror or Operation.Rcl
                or Operation.Rcr or Operation.Shl or Operation.Sal or Operation.Shr or Operation.Sar or Operation.Setcc or Operation.Cmovcc
                or Operation.Cmpxchg or Operation.Xadd or Operation.Xchg or Operation.Bsf or Operation.Bsr:
                return HasEncodableBytes(i);
            case Operation.Shld or Operation.Shrd:
                return i->Form == OperandForm.RmRegImmediate && i->OperandSize >= 4;
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc:
                return !i->IsMemory || i->Form == OperandForm.RmImmediate || (i->OperandSize >= 4 && i->AddressSize == (isCode64 ? 8 : 4));
            case Operation.Bswap:
                return i->OperandSize >= 4;
            case Operation.Vector:
                return VectorForm.IsNative(i);
            case Operation.X87 or Operation.Fwait:
                return VectorForm.IsNativeX87(i);
            case >= Operation.Andn and <= Operation.Shrx:
                return IsBitOperationTranslatable(i);
            case Operation.Movbe:
                return (CpuFeatureBits.Host & CpuFeatures.Movbe) != 0;
            case Operation.Crc32:
                return Sse42.IsSupported && HasEncodableBytes(i);
            case Operation.Adcx or Operation.Adox:
                return (CpuFeatureBits.Host & CpuFeatures.Adx) != 0;
            case Operation.Popcnt:
                return Popcnt.IsSupported;
            case Operation.Tzcnt:
                return Bmi1.IsSupported;
            case Operation.Lzcnt:
                return Lzcnt.IsSupported;
            case Operation.Div or Operation.Idiv:
                return i->OperandSize >= 4;
            case Operation.Cmpxchg8b or Operation.Cmpxchg16b:
                return true;
            case Operation.Movs or Operation.Stos or Operation.Cmps or Operation.Scas or Operation.Lods:
                return IsNativeString(i, isCode64);
            default:
                return IsNativeSystem(i, privilege);
        }
    }

    // True when the block cannot go on behind it.
    private bool Emit(DecodedInstruction* i)
    {
        if (_live[_index] == 0)
        {
            _flags = FlagsInRegister;
        }

        if (!_translatable[i - _instructions])
        {
            EmitInterpret();
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Jcc:
                EmitBranch(i);
                return true;
            case Operation.Jmp:
                RestoreFlags(scratchFree: true);
                EmitTaken(i->Immediate);
                return true;
            case Operation.Call:
                EmitPushReturn(i);
                RestoreFlags(scratchFree: true);
                EmitTaken(i->Immediate);
                return true;
            case Operation.Jrcxz or Operation.Loop:
                EmitCountBranch(i);
                return true;
            case Operation.CallIndirect or Operation.JmpIndirect:
                EmitIndirect(i);
                return true;
            case Operation.Ret:
                EmitReturn(i);
                return true;
            case Operation.Nop:
                return false;
            case Operation.Fence:
                _c.Bytes(0x0F, 0xAE, 0xF0);
                return false;
            case Operation.Cbw or Operation.Cwd or Operation.Clc or Operation.Stc or Operation.Cmc or Operation.Lahf or Operation.Sahf:
                SettleFlags(i, scratchFree: true);
                if (i->OperandSize == 2)
                {
                    _c.Byte(0x66);
                }

                _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, i->Opcode, i->OperandSize == 8, 0, 0, 0);
                return false;
            case Operation.Push:
                EmitPush(i);
                return false;
            case Operation.Pop:
                EmitPop(i);
                return false;
            case Operation.Leave:
                EmitLeave();
                return false;
            case Operation.Lea:
                EmitLoadAddress(i);
                return false;
            case Operation.Bswap:
                EmitByteSwap(i);
                return false;
            case Operation.Vector:
                EmitVector(i);
                return false;
            case Operation.X87 or Operation.Fwait:
                EmitX87(i);
                return false;
            case Operation.Div or Operation.Idiv:
                EmitDivide(i);
                return false;
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc when i->IsMemory && i->Form == OperandForm.RmReg:
                EmitBitString(i);
                return false;
            case Operation.Cmpxchg8b or Operation.Cmpxchg16b:
                EmitWideExchange(i);
                return false;
            case Operation.Movs or Operation.Stos or Operation.Cmps or Operation.Scas or Operation.Lods:
                EmitString(i);
                return false;
            case Operation.Syscall or Operation.Sysret or Operation.Iret:
                EmitPrivilegeChange(i);
                return true;
            case Operation.Cld or Operation.Std or (>= Operation.FirstSystem and < Operation.FirstVector):
                EmitSystem(i);
                return false;
            case >= Operation.Andn and <= Operation.Shrx:
                EmitBitOperation(i);
                return false;
            default:
                EmitPlain(i);
                return false;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitPlain(DecodedInstruction* i)
    {
        var map = (OpcodeMap)i->Map;
        int opcode = i->Opcode;
        var group = -1;
        var (reg, rm) = Roles(i);
        if (i->ModRmOffset == 0)
        {
            switch (i->Operation)
            {
                case Operation.Mov when i->Form == OperandForm.RmImmediate && i->OperandSize >= 4:
                    EmitMoveImmediate(i);
                    return;
                case Operation.Mov when i->Form == OperandForm.RmImmediate:
                    opcode = i->OperandSize == 1 ? 0xC6 : 0xC7;
                    group = 0;
                    break;
                case Operation.Mov:
                    opcode = (i->Opcode & 1) | (i->Form == OperandForm.RegRm ? 0x8A : 0x88);
                    break;
                case Operation.Xchg:
                    opcode = 0x87;
                    break;
                case Operation.Test:
                    opcode = i->OperandSize == 1 ? 0xF6 : 0xF7;
                    group = 0;
                    break;
                case Operation.Inc or Operation.Dec:
                    opcode = 0xFF;
                    group = i->Operation == Operation.Inc ? 0 : 1;
                    break;
                default:
                    // AL or EAX with an immediate.
                    opcode = i->OperandSize == 1 ? 0x80 : 0x81;
                    group = (i->Opcode >> 3) & 7;
                    break;
            }
        }
        else if (reg == 0)
        {
            group = i->Extension;
            if (i->Operation == Operation.Mov && i->Form == OperandForm.RmImmediate && !i->IsMemory && i->OperandSize >= 4)
            {
                EmitMoveImmediate(i);
                return;
            }
        }

        EmitCopy(i, map, opcode, group, reg, rm);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (int Reg, int Rm) Roles(DecodedInstruction* i)
    {
        if (i->Operation == Operation.Mov)
        {
            return i->Form == OperandForm.RmReg ? (Read, Write) : i->Form == OperandForm.RmImmediate ? (0, Write) : (Write, Read);
        }

        return i->Operation > Operation.Xor ? OtherRoles(i)
            : i->Form == OperandForm.RmReg ? (Read, ReadWrite) : i->Form == OperandForm.RegRm ? (ReadWrite, Read) : (0, ReadWrite);
    }

    private static (int Reg, int Rm) OtherRoles(DecodedInstruction* i)
    {
        switch (i->Operation)
        {
            case Operation.Cmp or Operation.Test:
                return i->Form == OperandForm.RmImmediate ? (0, Read) : (Read, Read);
            case Operation.Movzx or Operation.Movsx:
                return (Write, Read);
            case Operation.Movbe:
                return i->Form == OperandForm.RegRm ? (Write, Read) : (Read, Write);
            case Operation.Crc32 or Operation.Adcx or Operation.Adox:
                return (ReadWrite, Read);
            case Operation.Imul or Operation.Cmovcc or Operation.Bsf or Operation.Bsr or Operation.Popcnt or Operation.Tzcnt or Operation.Lzcnt:
                return (ReadWrite, Read);
            case Operation.Mul or Operation.ImulWide:
                return (0, Read);
            case Operation.Setcc:
                return (0, Write);
            case Operation.Bt:
                return i->Form == OperandForm.RmImmediate ? (0, Read) : (Read, Read);
            case Operation.Xchg or Operation.Xadd:
                return (ReadWrite, ReadWrite);
            case Operation.Cmpxchg or Operation.Shld or Operation.Shrd:
                return (Read, ReadWrite);
            default:
                return i->Form switch
                {
                    OperandForm.RmReg => (Read, ReadWrite),
                    OperandForm.RegRm => (ReadWrite, Read),
                    _ => (0, ReadWrite),
                };
        }
    }

    private void EmitMoveImmediate(DecodedInstruction* i)
    {
        var home = Located(i->Rm, T0);
        EmitConstant(home, i->OperandSize == 4 ? (uint)i->Immediate : i->Immediate);
        if (home == T0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Rm), HostRegister.Rdi);
        }
    }

    private void EmitByteSwap(DecodedInstruction* i)
    {
        var home = Fetch(i->Rm, T0);
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Escape0F, 0xC8 | (home & 7), i->OperandSize == 8, 0, 0, home);
        if (home == T0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Rm), HostRegister.Rdi);
        }
    }

    private void EmitLoadAddress(DecodedInstruction* i)
    {
        var home = Located(i->Reg, T0);
        if (i->Base == DecodedInstruction.RipBase)
        {
            var value = (_linear + (ulong)i->Displacement) & i->AddressMask;
            EmitConstant(home, i->OperandSize == 4 ? (uint)value : value);
        }
        else
        {
            LoadSpilledAddress(i);
            EmitLea(home, Math.Min(i->OperandSize, i->AddressSize), i);
        }

        if (home == T0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Reg), HostRegister.Rdi);
        }
    }

    private void EmitBranch(DecodedInstruction* i)
    {
        RestoreFlags(scratchFree: true);
        var isNear = IsLinkable(i->Immediate);
        if (isNear)
        {
            AlignBranch();
        }

        _c.Byte(0x0F);
        _c.Byte(0x80 | (i->Opcode & 15));
        AddCold(isNear ? ColdKind.Taken : ColdKind.FarTaken);
        _c.Int32(0);
        EmitFallThrough((ulong)(i->Offset + i->Length));
    }

    // JRCXZ and LOOP: by the host's JRCXZ, which leaves the flags alone.
    private void EmitCountBranch(DecodedInstruction* i)
    {
        var wide = i->AddressSize == 8;
        var count = HomeOf(1);
        RestoreFlags(scratchFree: true);
        if (i->Operation == Operation.Loop)
        {
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, count, 0, count); // lea
            _c.ModRmMemory(count, count, -1);
        }

        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8B, wide, T1, 0, count); // mov rcx, count
        _c.ModRmRegister(T1, count);
        _c.Bytes(0xE3, 0x00); // jrcxz
        var skip = _c.Cursor - 1;
        var next = (ulong)(i->Offset + i->Length);
        if (i->Operation == Operation.Loop)
        {
            EmitTaken(i->Immediate);
            *skip = (byte)(_c.Cursor - (skip + 1));
            EmitFallThrough(next);
        }
        else
        {
            EmitFallThrough(next);
            *skip = (byte)(_c.Cursor - (skip + 1));
            EmitTaken(i->Immediate);
        }
    }
}
