using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>Addresses, the TLB check, and instructions copied with their operands renamed.</content>
internal unsafe ref partial struct BlockTranslator
{
    private const int Read = 1;
    private const int Write = 2;
    private const int ReadWrite = Read | Write;
    private const int IndexMask = (TlbEntry.SetSize - 1) << 4;
    private const byte GuestRsp = 15;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte HomeOf(int guestRegister) => TranslationStubs.HomeOf(guestRegister);

    // The register that holds a guest register now: its home, or a free register loaded from the state.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte Fetch(int guestRegister, byte free)
    {
        var home = HomeOf(guestRegister);
        if (home != TranslationStubs.Spilled)
        {
            return home;
        }

        _c.Load64((HostRegister)free, HostRegister.Rsp, StateLayout.Gpr(guestRegister));
        return free;
    }

    // lea destination, [memory operand] without its segment; RIP-relative ones excepted. Uses RDI and RCX.
    private void EmitLea(byte destination, int size, DecodedInstruction* i)
    {
        var displacement = (int)i->Displacement;
        if (size == 2)
        {
            _c.Byte(0x66);
        }

        var wide = size == 8;
        if (i->Index == DecodedInstruction.NoRegister)
        {
            if (i->Base == DecodedInstruction.NoRegister)
            {
                _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, destination, 0, 0);
                _c.Byte(((destination & 7) << 3) | 4);
                _c.Byte(0x25);
                _c.Int32(displacement);
                return;
            }

            var only = Located(i->Base, T0);
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, destination, 0, only);
            _c.ModRmMemory(destination, only, displacement);
            return;
        }

        var index = Located(i->Index, T1);
        if (i->Base == DecodedInstruction.NoRegister)
        {
            _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, destination, index, 0);
            _c.Byte(((destination & 7) << 3) | 4);
            _c.Byte((i->Scale << 6) | ((index & 7) << 3) | 5);
            _c.Int32(displacement);
            return;
        }

        var baseRegister = Located(i->Base, T0);
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, wide, destination, index, baseRegister);
        _c.ModRmIndexed(destination, baseRegister, index, i->Scale, displacement);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte Located(int guestRegister, byte temporary)
    {
        var home = HomeOf(guestRegister);
        return home == TranslationStubs.Spilled ? temporary : home;
    }

    private void LoadSpilledAddress(DecodedInstruction* i)
    {
        if (i->Base < 16)
        {
            _ = Fetch(i->Base, T0);
        }

        if (i->Index < 16)
        {
            _ = Fetch(i->Index, T1);
        }
    }

    // The linear address of the memory operand to RDI; the register returned holds its low half, too. In 32-bit code the flags are
    // lost, if it is in FS or GS.
    private byte EmitAddress(DecodedInstruction* i)
    {
        if (i->Base < 16 && i->Index == DecodedInstruction.NoRegister && i->Displacement == 0 && i->AddressSize == 8 && i->Segment < 4)
        {
            var home = Fetch(i->Base, T0);
            if (home != T0)
            {
                _c.Move64(HostRegister.Rdi, (HostRegister)home);
            }

            return home;
        }

        if (i->Base == DecodedInstruction.RipBase)
        {
            EmitConstant(T0, (_linear + (ulong)i->Displacement) & i->AddressMask);
        }
        else if (i->ModRmOffset == 0)
        {
            EmitConstant(T0, (ulong)i->Displacement & i->AddressMask);
        }
        else
        {
            LoadSpilledAddress(i);
            EmitLea(T0, i->AddressSize, i);
        }

        if (i->Segment >= 4 && !_isCode64)
        {
            EmitSegment32(i->Segment);
        }
        else if (i->Segment >= 4)
        {
            _c.Load64(HostRegister.Rcx, HostRegister.Rsp, i->Segment == 4 ? StateLayout.FsBase : StateLayout.GsBase);
            _c.Bytes(0x48, 0x8D, 0x3C, 0x0F); // lea rdi, [rdi + rcx]
        }

        return T0;
    }

    // RDI is a linear address; afterwards RDI + RCX is where it lies in the host. The flags are lost.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitCheck(bool isStore, int size, int slot = NoSlot, byte low = T0) =>
        EmitCheck(isStore ? ColdKind.MissedStore : ColdKind.MissedLoad, size, slot, low);

    // The register low holds the address's low half.
    private void EmitCheck(ColdKind miss, int size, int slot, byte low = T0)
    {
        if (slot != NoSlot)
        {
            EmitSlotCheck(miss, size, slot);
            return;
        }

        if (Bmi2.IsSupported)
        {
            _c.Bytes(0xC4, 0xE3 - ((low >> 3) << 5), 0x7B, 0xF0, 0xC8 | (low & 7), 0x08); // rorx ecx, low, 8
        }
        else
        {
            _c.Bytes(0x89, 0xF9, 0xC1, 0xE9, 0x08); // mov ecx, edi; shr ecx, 8
        }

        _c.Arithmetic32(4, HostRegister.Rcx, IndexMask);
        if (_block->Privilege != 0)
        {
            EmitUserEntry(0x2B, T0, miss, 0); // sub
            EmitLimit(miss, size);
            EmitUserEntry(0x8B, T1, miss, 8); // mov
            return;
        }

        _c.RegisterMemory(
            OpcodePrefix.None, OpcodeMap.Primary, 0x03, true, T1, HostRegister.Rsp,
            IsStore(miss) ? StateLayout.StoreTlb : StateLayout.LoadTlb);
        _c.Bytes(0x48, 0x2B, 0x39); // sub rdi, [rcx]
        EmitLimit(miss, size);
        _c.Bytes(0x48, 0x8B, 0x49, 0x08); // mov rcx, [rcx + 8]
    }

    // Programs have their sets at constant places: an instruction on the entry at RCX of one.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitUserEntry(int opcode, int register, ColdKind miss, int field)
    {
        _c.Bytes(0x48, opcode, 0x84 | (register << 3), (T1 << 3) | Sp);
        _c.Int32(StateLayout.UserTlb(IsStore(miss)) + field);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitLimit(ColdKind miss, int size)
    {
        _c.Bytes(0x48, 0x81, 0xFF); // cmp rdi, 4096 - size
        _c.Int32(4096 - size);
        _c.Bytes(0x0F, 0x87); // ja
        AddCold(miss);
        _c.Int32(0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void ParkLiveFlags()
    {
        if (_live[_index] != 0)
        {
            ParkFlags();
        }
    }

    // The operand in memory, for EmitOperand. The flags are lost, or not touched.
    private void EmitMemory(DecodedInstruction* i, bool isStore, int size)
    {
        if (TryEmitWindowed(i))
        {
            return;
        }

        _isWindowed = false;
        ParkLiveFlags();
        var low = EmitAddress(i);
        EmitCheck(isStore, size, SlotOf(i, isStore), low);
    }

    // An instruction of the common kind: one operand in ModRM.reg, one in ModRM.rm.
    private void EmitCopy(DecodedInstruction* i, OpcodeMap map, int opcode, int extension, int regRole, int rmRole)
    {
        var memory = i->IsMemory;
        var byCl = i->Form == OperandForm.RmCl;
        var destinationOnly = i->OperandSize >= 4 ? 0 : Read;
        if ((regRole & Write) != 0)
        {
            regRole |= destinationOnly;
        }

        if ((rmRole & Write) != 0)
        {
            rmRole |= destinationOnly;
        }

        if (memory)
        {
            EmitMemory(i, (rmRole & Write) != 0, i->SourceSize);
        }

        var keepsWindow = memory ? _isWindowed : _windowInRcxUntil == _c.Cursor;
        SettleFlags(i, scratchFree: !memory);
        keepsWindow &= !byCl && (memory || _windowInRcxUntil == _c.Cursor);
        if (TryEmitLent(i, map, opcode, extension, regRole, rmRole))
        {
            return;
        }

        var isHighRcx = memory && IsHighRcx(i);
        var force = false;
        int reg = extension;
        var regSpilled = false;
        if (extension < 0)
        {
            reg = ByteOrHome(i->Reg, i->RegOffset, i->OperandSize == 1, out regSpilled, ref force);
            regSpilled |= isHighRcx;
        }

        int rm = T0;
        var rmSpilled = false;
        var combined = false;
        var isInState = false;
        if (!memory)
        {
            rm = ByteOrHome(i->Rm, i->RmOffset, i->SourceSize == 1, out rmSpilled, ref force);
            isInState = rmSpilled && CanBeInMemory(i, (rmRole & Write) != 0);
            if (isInState)
            {
                rm = Sp;
                rmSpilled = false;
            }
            else if (rmSpilled)
            {
                rm = T0;
                force |= i->SourceSize == 1;
            }
        }
        else if (regSpilled)
        {
            if (!_isWindowed)
            {
                EmitHostAddress();
                rm = T1;
                combined = true;
            }
        }
        else if (byCl)
        {
            EmitOperandAddress(T0);
            combined = true;
        }

        if (regSpilled)
        {
            reg = memory || (rmSpilled && i->Reg == i->Rm) ? T0 : T1;
            keepsWindow &= reg == T0;
            force |= i->OperandSize == 1 && reg == T0;
            if (isHighRcx)
            {
                _c.Bytes(0xC4, 0xC3, 0x7B, 0xF0, 0xFA, 0x08); // rorx edi, r10d, 8
            }
            else if ((regRole & Read) != 0)
            {
                _c.Load64((HostRegister)reg, HostRegister.Rsp, StateLayout.Gpr(i->Reg));
            }
        }

        if (rmSpilled && (rmRole & Read) != 0 && !(regSpilled && i->Reg == i->Rm && (regRole & Read) != 0))
        {
            _c.Load64(HostRegister.Rdi, HostRegister.Rsp, StateLayout.Gpr(i->Rm));
        }

        if (byCl)
        {
            _c.Bytes(0x44, 0x89, 0xD1); // mov ecx, r10d
        }

        var start = _c.Cursor;
        EmitPrefixes(i);
        _c.Opcode(OpcodePrefix.None, map, opcode, i->OperandSize == 8, extension < 0 ? reg : 0, 0, memory ? 0 : rm, force);
        if (isInState)
        {
            _c.ModRmMemory(reg, Sp, StateLayout.Gpr(i->Rm));
        }
        else if (!memory)
        {
            _c.ModRmRegister(reg, rm);
        }
        else if (combined)
        {
            _c.ModRmMemory(reg, rm, 0);
        }
        else
        {
            EmitOperand(reg);
        }

        EmitImmediate(i);
        _comparison = start;
        _comparisonEnd = _c.Cursor;
        if (regSpilled && (regRole & Write) != 0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Reg), (HostRegister)reg);
        }

        if (rmSpilled && (rmRole & Write) != 0)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Rm), HostRegister.Rdi);
        }

        if (keepsWindow)
        {
            _windowInRcxUntil = _c.Cursor;
        }
    }

    // Whether a register that stays in the state may be named there. The host would take a bit's number as a place in memory and lock for
    // an exchange; XADD may name a register twice; and a result of 32 bits clears the upper half.
    private static bool CanBeInMemory(DecodedInstruction* i, bool isWritten) => i->Operation switch
    {
        Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc or Operation.Xchg or Operation.Xadd => false,
        _ => !isWritten || i->OperandSize != 4,
    };

    // The number of an operand in ModRM. Byte registers 4 to 7 need a REX prefix, AH to BH need its absence.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ByteOrHome(int register, int offset, bool isByte, out bool spilled, ref bool force)
    {
        if (isByte && (offset & 7) != 0)
        {
            spilled = false;
            return (offset >> 3) + 4;
        }

        var home = HomeOf(register);
        spilled = home == TranslationStubs.Spilled;
        force |= isByte && home is >= 4 and < 8;
        return home;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitPrefixes(DecodedInstruction* i)
    {
        if (i->OperandSize == 2 || (i->Prefixes & Prefixes.Lock) != 0 || i->Operation >= Operation.Bsf)
        {
            EmitOtherPrefixes(i);
        }
    }

    private void EmitOtherPrefixes(DecodedInstruction* i)
    {
        if ((i->Prefixes & Prefixes.Lock) != 0)
        {
            _c.Byte(0xF0);
        }

        if (i->OperandSize == 2 || i->Operation == Operation.Adcx || (i->Operation == Operation.Crc32 && i->SourceSize == 2))
        {
            _c.Byte(0x66);
        }

        if (i->Operation is Operation.Popcnt or Operation.Tzcnt or Operation.Lzcnt or Operation.Adox)
        {
            _c.Byte(0xF3);
        }
        else if (i->Operation == Operation.Crc32)
        {
            _c.Byte(0xF2);
        }
    }

    private void EmitImmediate(DecodedInstruction* i) => _c.Immediate(i->Immediate, i->ImmediateSize);
}
