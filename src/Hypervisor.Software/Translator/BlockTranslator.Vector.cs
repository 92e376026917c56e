using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>Vector instructions: copied, the host's vector registers being the guest's once they have been loaded.</content>
internal unsafe ref partial struct BlockTranslator
{
    // The registers an instruction needs are in from here on; if they are not, the load may fail, and the interpreter takes over.
    private void RequireVectors(VectorNeed need)
    {
        if (_vectors >= need)
        {
            return;
        }

        _vectors = need;
        _c.Load32(HostRegister.Rcx, HostRegister.Rsp, need == VectorNeed.Avx ? StateLayout.AvxAbsent : StateLayout.VectorsAbsent);
        _c.Bytes([0xE3, 0x05]); // jrcxz over the jump
        _c.Byte(0xE9);
        AddCold(ColdKind.Vectors);
        _c.Int32(0);
    }

    private void EmitVectorsCold(Cold* cold)
    {
        RestoreColdFlags(cold);
        EmitLoadVectors(cold->Vectors, cold->Index, (byte*)cold->Place + 4);
    }

    // The interpreter leaves the vector registers in their image: whatever follows in the block counts on them.
    private void EmitInterpretCold(Cold* cold)
    {
        RestoreColdFlags(cold);
        var next = cold->Index + 1;
        var start = _c.Cursor;
        if (cold->Vectors == VectorNeed.None || next > _lastVector)
        {
            EmitRecordExit(ExitKind.Interpret, (ushort)cold->Index, start, (int)(_starts[next] - start));
            return;
        }

        EmitRecordExit(ExitKind.Interpret, (ushort)cold->Index, start, 12 + sizeof(ExitRecord));
        EmitLoadVectors(cold->Vectors, next, _starts[next]);
    }

    // RDI is the linear address less the tag of the entry at RCX.
    private void EmitMissCold(Cold* cold)
    {
        _c.Bytes([0x48, 0x03, 0x39]); // add rdi, [rcx]
        _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
        RestoreColdFlags(cold);
        var next = cold->Index + 1;
        _c.Bytes([0x48, 0x8D, 0x3D]); // lea rdi, [record]
        _c.Int32(5);
        EmitJump(_owner.Leave);

        // Leaving puts the vector registers into their image: what counts on them has them loaded again.
        var needsAfter = cold->Vectors != VectorNeed.None && next <= _lastVector;
        var needsBefore = _startVectors[cold->Index] != VectorNeed.None;
        var after = _c.Cursor + sizeof(ExitRecord);
        var before = after + (needsAfter ? LoadVectorsSize : 0);
        EmitRecord(
            cold->Kind == ColdKind.MissedStore ? ExitKind.MissedStore : ExitKind.MissedLoad, (ushort)cold->Index,
            needsAfter ? after : _starts[next], needsBefore ? before : _starts[cold->Index]);
        if (needsAfter)
        {
            EmitLoadVectors(cold->Vectors, next, _starts[next]);
        }

        if (needsBefore)
        {
            EmitLoadVectors(_startVectors[cold->Index], cold->Index, _starts[cold->Index]);
        }
    }

    private static int LoadVectorsSize => 12 + sizeof(ExitRecord);

    private void RestoreColdFlags(Cold* cold)
    {
        if (cold->FlagsParked)
        {
            _flagsParked = true;
            RestoreFlags(scratchFree: true);
        }
    }

    private void EmitLoadVectors(VectorNeed need, int index, byte* next)
    {
        _c.Bytes([0x48, 0x8D, 0x3D]); // lea rdi, [record]
        _c.Int32(5);
        EmitJump(need == VectorNeed.Avx ? _owner.LoadAvx : _owner.LoadVectors);
        EmitRecord(ExitKind.Vectors, (ushort)index, next);
    }

    private void EmitVector(DecodedInstruction* i)
    {
        _ = VectorForm.TryFind(i, out var form);
        var isVex = (i->Prefixes & Prefixes.Vex) != 0;
        RequireVectors(isVex ? VectorNeed.Avx : VectorNeed.Sse);
        var memory = i->IsMemory;
        if (form.Has(ThunkTraits.ClearsUppers))
        {
            _c.Bytes([0xC5, (byte)((i->Prefixes & Prefixes.VexL) != 0 ? 0xFC : 0xF8), 0x77]);
            return;
        }

        if (memory)
        {
            var size = isVex ? VexTable.MemorySize(i, form) : MemorySize(i, form);
            EmitMemory(i, form.Has(ThunkTraits.WritesRm), size);
            if (form.Has(ThunkTraits.Aligned))
            {
                EmitAlignmentCheck(size);
            }
        }

        SettleFlags(i, scratchFree: !memory);
        int reg = i->Reg;
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

        int rm = memory ? T0 : i->Rm;
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
            _c.ModRmIndexed(reg, T0, T1, 0, 0);
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

    // RDI is the offset in the page. A misaligned operand is the interpreter's, which raises the fault.
    private void EmitAlignmentCheck(int size)
    {
        _c.Bytes([0x40, 0xF6, 0xC7, (byte)(size - 1)]); // test dil, size - 1
        _c.Bytes([0x0F, 0x85]); // jnz
        AddCold(ColdKind.Interpret);
        _c.Int32(0);
    }
}
