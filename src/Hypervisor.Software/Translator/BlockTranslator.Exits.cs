using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>How a block is left: for the interpreter and the dispatcher, which code that lies apart does, and for other blocks.</content>
internal unsafe ref partial struct BlockTranslator
{
    // Leaves for the interpreter to execute the present instruction, and comes back after it.
    private void EmitInterpret()
    {
        RestoreFlags(scratchFree: true);
        _in = default;
        _c.Byte(0xE9);
        AddCold(ColdKind.Interpret);
        _c.Int32(0);
    }

    // call leave; record.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ExitRecord* EmitRecordExit(ExitKind kind, int offset)
    {
        EmitLeave(_owner.CalledLeave);
        return BeginRecord(kind, offset, ExitRecord.ShortSize);
    }

    // call stub; the record follows.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitLeave(byte* stub)
    {
        _c.Byte(0xE8);
        _c.Int32((int)(stub - (_c.Executable + 4)));
    }

    // RDI, the linear address that missed, is kept for the exit, which follows but for its record.
    private void EmitLeaveMissed(Cold* cold)
    {
        if (cold->Flags == FlagsInRegister)
        {
            _flags = FlagsInRegister;
            EmitLeave(_owner.LeaveMissed);
            return;
        }

        _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
        RestoreColdFlags(cold);
        EmitLeave(_owner.CalledLeave);
    }

    // lea rdi, [record, which follows]; jmp stub.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitToRecord(byte* stub)
    {
        _c.Bytes(0x48, 0x8D, 0x3D);
        _c.Int32(5);
        EmitJump(stub);
    }

    // lea rdi, [the block, which begins with this exit's record]; jmp leave.
    private void EmitToRequest()
    {
        _c.Bytes(0x48, 0x8D, 0x3D);
        _c.Int32((int)((byte*)_block - (_c.Cursor + 4)));
        EmitJump(_owner.Leave);
    }

    // A record of so many bytes, for the instruction at an offset.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private ExitRecord* BeginRecord(ExitKind kind, int offset, int size)
    {
        var record = (ExitRecord*)_c.Cursor;
        Mark(record, kind, offset);
        record->Resume = 0;
        _c.Skip(size);
        return record;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Mark(ExitRecord* record, ExitKind kind, int offset)
    {
        Debug.Assert((byte*)record - (byte*)_block is > 0 and <= ushort.MaxValue);
        record->FromBlock = (ushort)((byte*)record - (byte*)_block);
        record->Set(kind, offset);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Distance(ExitRecord* record, byte* place) => (int)(place - (byte*)record);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly int OffsetOf(int index) => (_instructions + index)->Offset;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void EmitJump(byte* executableTarget)
    {
        _c.Byte(0xE9);
        _c.Int32((int)(executableTarget - (_c.Executable + 4)));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void AddCold(ColdKind kind)
    {
        var cold = _colds + _coldCount++;
        cold->Place = (int*)_c.Cursor;
        cold->Kind = kind;
        cold->Index = _index;
        cold->Flags = _flags;
        cold->In = _in;
        cold->Slot = NoSlot;
    }

    private void EmitColds()
    {
        for (var n = 0; n < _coldCount; n++)
        {
            var cold = _colds + n;
            *cold->Place = (int)(_c.Cursor - ((byte*)cold->Place + 4));
            switch (cold->Kind)
            {
                case ColdKind.Request:
                    EmitToRequest();
                    break;
                case ColdKind.Interpret:
                    EmitInterpretCold(cold);
                    break;
                case ColdKind.MissedLoad or ColdKind.MissedStore:
                    EmitMissCold(cold);
                    break;
                case ColdKind.LoadWindow or ColdKind.StoreWindow:
                    EmitWindowCold(cold);
                    break;
                case ColdKind.LoadGroup or ColdKind.StoreGroup:
                    EmitGroupCold(cold);
                    break;
                case ColdKind.Vectors or ColdKind.X87:
                    EmitVectorsCold(cold);
                    break;
                case ColdKind.Taken:
                    _block->SetTaken(cold->Place, _c.Cursor);
                    EmitRecordExit(ExitKind.Taken, 0)->Resume = (int)(_instructions + cold->Index)->Immediate;
                    break;
                case ColdKind.FallThrough:
                    var end = _instructions + cold->Index;
                    _block->SetFallThrough(cold->Place, _c.Cursor);
                    EmitRecordExit(ExitKind.FallThrough, 0)->Resume = end->Offset + end->Length;
                    break;
                case ColdKind.FarTaken:
                    EmitFarBranch(cold->Index, isTaken: true);
                    break;
                case ColdKind.FarTakenExit:
                    EmitFarExit(cold, AddressOf((_instructions + cold->Index)->Immediate));
                    break;
                default:
                    var last = _instructions + cold->Index;
                    EmitFarExit(cold, AddressOf((ulong)(last->Offset + last->Length)));
                    break;
            }
        }

        _flags = FlagsInRegister;
    }

    // To another page, from the block's last instruction: if the processor has that page where it was when the branch was linked.
    private void EmitFarBranch(int index, bool isTaken)
    {
        var last = _instructions + index;
        var target = AddressOf(isTaken ? last->Immediate : (ulong)(last->Offset + last->Length));
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, StateLayout.CodeMapping(_block->Privilege, target));
        AlignDisplacement(3);
        _c.Bytes(0x48, 0x8D, 0x89); // lea rcx, [rcx - mapping]
        var place = (int*)_c.Cursor;
        _c.Int32(0);
        _c.Bytes(0xE3, 0x05); // jrcxz over the jump
        _c.Byte(0xE9);
        AddCold(isTaken ? ColdKind.FarTakenExit : ColdKind.FarExit);
        (_colds + _coldCount - 1)->Index = index;
        _c.Int32(0);
        _c.Byte(0xE9);
        _c.Int32(0);
        Debug.Assert((byte*)place + FarLink.JumpDistance + 4 == _c.Cursor);
    }

    private void EmitFarExit(Cold* cold, ulong target)
    {
        // Behind the jump that is taken while it is not linked lies the one that is then.
        var jump = cold->Place;
        var place = (int*)((byte*)jump + 5 - FarLink.JumpDistance);
        *(place + (FarLink.JumpDistance / 4)) = *jump - 5;
        EmitToRecord(_owner.LeaveFar(_block->Privilege));
        var link = (FarLink*)_c.Cursor;
        *link = default;
        Mark((ExitRecord*)link, ExitKind.Far, 0);
        link->Target = target;
        link->Place = place;
        link->NextLeaving = _block->Leaving;
        _block->Leaving = link;
        _c.Skip(sizeof(FarLink));
    }

    // RDI is the target.
    private void EmitIndirectJump()
    {
        _c.Bytes(0x0F, 0xB7, 0xCF); // movzx ecx, di
        _c.Byte(0xFF);
        _c.Byte(0x84 | (4 << 3));
        _c.Byte((3 << 6) | (T1 << 3) | Sp);
        _c.Int32(StateLayout.JumpTable(_block->Privilege));
    }

    // Whether a branch may be linked: to an instruction that lies in the block's page, all of it.
    private readonly bool IsLinkable(ulong offset)
    {
        var target = AddressOf(offset);
        if (((target ^ _linear) & ~0xFFFUL) != 0 || _block->Block->Crosses)
        {
            return false;
        }

        var inPage = 4096 - (int)(target & 0xFFF);
        DecodedInstruction instruction;
        return inPage >= Decoder.MaximumLength
            || Decoder.Decode(_block->Block->HostPc + (long)offset, inPage, (VpMode)_block->Block->Mode, 0, &instruction) != DecodeStatus.NeedMore;
    }

    private void EmitFallThrough(ulong offset)
    {
        if (!IsLinkable(offset))
        {
            EmitFarBranch(_index, isTaken: false);
            return;
        }

        EmitLinkedJump(ColdKind.FallThrough, offset);
    }

    private void EmitTaken(ulong offset)
    {
        if (!IsLinkable(offset))
        {
            EmitFarBranch(_index, isTaken: true);
            return;
        }

        EmitLinkedJump(ColdKind.Taken, offset);
    }

    // All of the jump lies in an aligned word, for a NOP to take its place at once when its target is what follows.
    private void EmitLinkedJump(ColdKind kind, ulong offset)
    {
        var place = (int)(nuint)_c.Cursor & 7;
        EmitNop(place > 3 ? 8 - place : 0);
        _c.Byte(0xE9);
        AddCold(kind);
        _tail = (int*)_c.Cursor;
        _tailOffset = offset;
        _c.Int32(0);
    }

    // Before a conditional branch that is patched while others run: both its displacement and the jump behind it lie in aligned words, with
    // nothing between. The comparison goes with it, since hosts execute the two as one.
    private void AlignBranch()
    {
        var padding = (int)(2 - (nuint)_c.Cursor) & 7;
        if (padding == 0)
        {
            return;
        }

        if (_comparisonEnd != _c.Cursor)
        {
            EmitNop(padding);
            return;
        }

        var isStart = _starts[_index] == _c.Cursor;
        var length = (int)(_c.Cursor - _comparison);
        Span<byte> comparison = stackalloc byte[15];
        new Span<byte>(_comparison, length).CopyTo(comparison);
        _c.Skip(-length);
        EmitNop(padding);
        comparison[..length].CopyTo(new Span<byte>(_c.Cursor, length));
        _c.Skip(length);
        if (isStart)
        {
            _starts[_index] = _c.Cursor;
        }
    }

    // A NOP of up to seven bytes; none for 0.
    private void EmitNop(int length)
    {
        switch (length)
        {
            case 1:
                _c.Byte(0x90);
                break;
            case 2:
                _c.Bytes(0x66, 0x90);
                break;
            case 3:
                _c.Bytes(0x0F, 0x1F, 0x00);
                break;
            case 4:
                _c.Bytes(0x0F, 0x1F, 0x40, 0x00);
                break;
            case 5:
                _c.Bytes(0x0F, 0x1F, 0x44, 0x00, 0x00);
                break;
            case 6:
                _c.Bytes(0x66, 0x0F, 0x1F, 0x44, 0x00, 0x00);
                break;
            case 7:
                _c.Bytes(0x0F, 0x1F, 0x80, 0x00, 0x00, 0x00, 0x00);
                break;
        }
    }

    // Displacements that are patched while others run are aligned.
    private void AlignDisplacement(int opcodeLength)
    {
        EmitNop((int)(0 - ((nuint)_c.Cursor + (nuint)opcodeLength)) & 3);
    }

    private enum ColdKind
    {
        Interpret,
        MissedLoad,
        MissedStore,
        LoadWindow,
        StoreWindow,
        LoadGroup,
        StoreGroup,
        Vectors,
        X87,
        Request,
        Taken,
        FallThrough,
        FarTaken,
        FarTakenExit,
        FarExit,
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Cold
    {
        public int* Place;
        public ColdKind Kind;
        public int Index;
        public int Flags;
        public HostRegisters In;

        // Of accesses that look at a remembered page first: which, and their size.
        public int Slot;
        public int Size;

        // Of groups: the last instruction, and where the flags are behind it.
        public int Last;
        public int FlagsBehind;
    }
}
