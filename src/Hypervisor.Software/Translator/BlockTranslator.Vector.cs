using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>Vector instructions: copied, the host's vector registers being the guest's once they have been loaded.</content>
internal unsafe ref partial struct BlockTranslator
{
    private const int LoadSize = 12 + ExitRecord.ShortSize;

    // The registers an instruction needs are in from here on; if they are not, the load may fail, and the interpreter takes over.
    private void RequireVectors(VectorNeed need)
    {
        if (_in.Vectors < need)
        {
            _in.Vectors = need;
            EmitAbsenceTest(need == VectorNeed.Avx ? StateLayout.AvxAbsent : StateLayout.VectorsAbsent, ColdKind.Vectors);
        }
    }

    private void RequireX87()
    {
        if (!_in.X87)
        {
            _in.X87 = true;
            EmitAbsenceTest(StateLayout.X87Absent, ColdKind.X87);
        }
    }

    private void EmitAbsenceTest(int field, ColdKind kind)
    {
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, field);
        _c.Bytes(0xE3, 0x05); // jrcxz over the jump
        _c.Byte(0xE9);
        AddCold(kind);
        _c.Int32(0);
    }

    private void EmitVectorsCold(Cold* cold)
    {
        RestoreColdFlags(cold);
        var stub = cold->Kind == ColdKind.X87 ? _owner.LoadX87 : LoaderOf(cold->In.Vectors);
        EmitLoadRegisters(stub, cold->Index, (byte*)cold->Place + 4);
    }

    private void EmitInterpretCold(Cold* cold)
    {
        RestoreColdFlags(cold);
        var record = EmitRecordExit(ExitKind.Interpret, OffsetOf(cold->Index));
        if (!_accesses[cold->Index].IsWithin)
        {
            var next = cold->Index + 1;
            record->Resume = Distance(record, ReloadSize(cold->In, next) != 0 ? _c.Cursor : _starts[next]);
            EmitReload(cold->In, next);
        }
    }

    private void EmitMissCold(Cold* cold)
    {
        EmitMissedAddress(cold);
        EmitLeaveMissed(cold);
        var index = cold->Index;
        var kind = cold->Kind == ColdKind.MissedStore ? ExitKind.MissedStore : ExitKind.MissedLoad;
        var record = BeginRecord(kind, OffsetOf(index), sizeof(ExitRecord));
        if (!_accesses[index].IsWithin)
        {
            record->Resume = Distance(record, ReloadSize(cold->In, index + 1) != 0 ? _c.Cursor : _starts[index + 1]);
            EmitReload(cold->In, index + 1);
        }

        record->Retry = Distance(record, ReloadSize(_startIn[index], index) != 0 ? _c.Cursor : _starts[index]);
        EmitReload(_startIn[index], index);
    }

    // Leaving puts the vector and x87 registers into their image: what counts on them from an instruction on has them loaded again.
    private readonly int ReloadSize(HostRegisters registers, int index) =>
        (IsVectorReload(registers, index) ? LoadSize : 0) + (IsX87Reload(registers, index) ? LoadSize : 0);

    private readonly bool IsVectorReload(HostRegisters registers, int index) => registers.Vectors != VectorNeed.None && index <= _lastVector;

    private readonly bool IsX87Reload(HostRegisters registers, int index) => registers.X87 && index <= _lastX87;

    private void EmitReload(HostRegisters registers, int index)
    {
        var x87 = IsX87Reload(registers, index);
        if (IsVectorReload(registers, index))
        {
            EmitLoadRegisters(LoaderOf(registers.Vectors), index, x87 ? _c.Cursor + LoadSize : _starts[index]);
        }

        if (x87)
        {
            EmitLoadRegisters(_owner.LoadX87, index, _starts[index]);
        }
    }

    private void RestoreColdFlags(Cold* cold)
    {
        _flags = cold->Flags;
        RestoreFlags(scratchFree: true);
    }

    private readonly byte* LoaderOf(VectorNeed need) => need == VectorNeed.Avx ? _owner.LoadAvx : _owner.LoadVectors;

    private void EmitLoadRegisters(byte* stub, int index, byte* next)
    {
        EmitToRecord(stub);
        var record = BeginRecord(ExitKind.Vectors, OffsetOf(index), ExitRecord.ShortSize);
        record->Resume = Distance(record, next);
    }

    private void EmitVector(DecodedInstruction* i)
    {
        _ = VectorForm.TryFind(i, out var form);
        var isVex = (i->Prefixes & Prefixes.Vex) != 0;
        var memory = i->IsMemory;
        if (VectorForm.UsesMmx(form, memory))
        {
            RequireX87();
        }

        if (!form.Has(ThunkTraits.NoSse))
        {
            RequireVectors(isVex ? VectorNeed.Avx : VectorNeed.Sse);
        }

        if (form.Has(ThunkTraits.ClearsUppers))
        {
            _c.Bytes(0xC5, (byte)((i->Prefixes & Prefixes.VexL) != 0 ? 0xFC : 0xF8), 0x77);
            return;
        }

        if (form.Has(ThunkTraits.EmptyMmx))
        {
            _c.Bytes(0x0F, 0x77);
            return;
        }

        if (memory)
        {
            var size = isVex ? VexTable.MemorySize(i, form) : MemorySize(i, form);
            if (form.Has(ThunkTraits.Aligned))
            {
                ParkLiveFlags();
            }

            EmitMemory(i, form.Has(ThunkTraits.WritesRm), size);
            if (form.Has(ThunkTraits.Aligned))
            {
                EmitAlignmentCheck(size);
            }
        }

        SettleFlags(i, scratchFree: !memory);
        int reg = form.Reg == OperandKind.Mmx ? i->Reg & 7 : i->Reg;
        var regSpilled = false;
        if (form.Has(ThunkTraits.Group))
        {
            reg = i->Extension;
        }
        else if (form.Reg == OperandKind.General)
        {
            // Always a mere result.
            reg = Located(i->Reg, T0);
            regSpilled = reg == T0;
        }

        int rm = memory ? T0 : form.Rm == OperandKind.Mmx ? i->Rm & 7 : i->Rm;
        var rmSpilled = false;
        if (!memory && form.Rm == OperandKind.General)
        {
            rm = form.Has(ThunkTraits.ReadsRm) ? Fetch(i->Rm, T0) : Located(i->Rm, T0);
            rmSpilled = rm == T0;
        }

        EmitVectorOperation(i, form, reg, rm);
        if (form.Has(ThunkTraits.WritesRcx))
        {
            _c.Move64((HostRegister)HomeOf(1), HostRegister.Rcx);
        }

        if (regSpilled)
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Reg), HostRegister.Rdi);
        }

        if (rmSpilled && form.Has(ThunkTraits.WritesRm))
        {
            _c.Store64(HostRegister.Rsp, StateLayout.Gpr(i->Rm), HostRegister.Rdi);
        }
    }

    private void EmitVectorOperation(DecodedInstruction* i, in ThunkForm form, int reg, int rm)
    {
        var prefix = (OpcodePrefix)ThunkTable.PrefixOf(i);
        var wide = (i->Prefixes & Prefixes.RexW) != 0;
        if ((i->Prefixes & Prefixes.Vex) != 0)
        {
            _c.VexOpcode(prefix, (OpcodeMap)i->Map, i->Opcode, wide, (i->Prefixes & Prefixes.VexL) != 0, reg, i->Vvvv, 0, rm);
        }
        else
        {
            _c.Opcode(prefix, (OpcodeMap)i->Map, i->Opcode, wide, reg, 0, rm);
        }

        if (i->IsMemory)
        {
            EmitOperand(reg);
        }
        else
        {
            _c.ModRmRegister(reg, rm);
        }

        if (form.Has(ThunkTraits.Immediate))
        {
            _c.Byte((byte)i->Immediate);
        }
    }

    private static int MemorySize(DecodedInstruction* i, in ThunkForm form) =>
        form.MemorySize != 0 ? form.MemorySize : (i->Prefixes & Prefixes.RexW) != 0 ? 8 : 4;

    // RDI is the offset in the page, or is free. A misaligned operand is the interpreter's, which raises the fault; so what has been found
    // aligned in a window tells of others there.
    private void EmitAlignmentCheck(int size)
    {
        if (!_isWindowed)
        {
            _c.Bytes(0x40, 0xF6, 0xC7, size - 1); // test dil, size - 1
        }
        else
        {
            var window = _windows + _accesses[_index].Window - 1;
            if (window->AlignedTo >= size && ((_place - window->AlignedPlace) & (size - 1)) == 0)
            {
                return;
            }

            window->AlignedTo = size;
            window->AlignedPlace = _place;
            if ((_place & (size - 1)) == 0)
            {
                _c.Bytes(0xF6, 0xC1, size - 1); // test cl, size - 1
            }
            else
            {
                EmitOperandAddress(T0);
                _c.Bytes(0x40, 0xF6, 0xC7, size - 1);
            }
        }

        _c.Bytes(0x0F, 0x85); // jnz
        AddCold(ColdKind.Interpret);
        _c.Int32(0);
    }
}
