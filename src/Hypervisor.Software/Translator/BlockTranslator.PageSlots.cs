using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// Remembered pages: where an access of a program is likely to stay in a page (the stack, addresses that a loop steps through), a copy of
/// the page's TLB entry lies at a constant place in the state. It is found without computing an index, and a stub copies another entry when
/// it is not the right one. Addresses that are constants have their TLB entry at a constant place anyway.
/// </content>
internal unsafe ref partial struct BlockTranslator
{
    private const int NoSlot = -1;

    // Loads and stores of the stack share theirs, which only stores fill: a page that may be stored to may be read. Frames that are
    // larger have some more, one for each 512 bytes.
    private const int FirstStackSlot = 0;
    private const int StackSlots = 8;
    private const int FirstStrideSlot = FirstStackSlot + StackSlots;
    private const int StrideSlots = 8;

    // From here on, entries of the TLB itself: where the one of an address that is a constant lies in its set is one, too.
    private const int FirstEntry = VpState.PageSlotCount;

    // mov rcx, [rsp + a displacement of 32 bits]
    private const int SlotLoadSize = 8;

    // What is remembered are pages of the user's sets.
    private readonly int StackSlot => _block->Privilege == 0 ? NoSlot : FirstStackSlot;

    private static bool IsStore(ColdKind miss) => miss is ColdKind.MissedStore or ColdKind.StoreGroup or ColdKind.StoreWindow;

    // Which registers a block that is a loop only steps by what does not change in it.
    private void FindStrides()
    {
        _strides = 0;
        _strideCount = (int)(_linear >> 4);
        var last = _instructions + _count - 1;
        if (_block->Privilege == 0 || last->Operation != Operation.Jcc || Wrapped(last->Immediate) != 0)
        {
            return;
        }

        var stepped = 0u;
        var steps = 0u;
        var written = 0u;
        for (var n = 0; n < _count; n++)
        {
            var i = _instructions + n;
            if (!_translatable[n])
            {
                return;
            }

            if (i->Operation is Operation.Add or Operation.Sub && !i->IsMemory && i->OperandSize == Word
                && i->Form is OperandForm.RmReg or OperandForm.RegRm)
            {
                stepped |= 1u << (i->Form == OperandForm.RmReg ? i->Rm : i->Reg);
                steps |= 1u << (i->Form == OperandForm.RmReg ? i->Reg : i->Rm);
                continue;
            }

            written |= RegisterUse.Written(i, Word, out var raised, out _);
            if (raised >= 0)
            {
                stepped |= 1u << raised;
            }
        }

        if ((steps & (written | stepped)) == 0)
        {
            _strides = ~written;
        }
    }

    // The remembered page, or the entry, that an access looks at; a wrong entry would never have the page.
    private int SlotOf(DecodedInstruction* i, bool isStore)
    {
        if (i->Segment >= 4)
        {
            return NoSlot;
        }

        var isRelative = i->Base == DecodedInstruction.RipBase;
        if (isRelative || i->ModRmOffset == 0 || (i->Base == DecodedInstruction.NoRegister && i->Index == DecodedInstruction.NoRegister))
        {
            var linear = ((isRelative ? _linear : 0) + (ulong)i->Displacement) & i->AddressMask;
            return FirstEntry + (int)((linear >> 12) & (TlbEntry.SetSize - 1));
        }

        if (_block->Privilege == 0)
        {
            return NoSlot;
        }

        if (i->Base == 4 && i->Index == DecodedInstruction.NoRegister)
        {
            return FirstStackSlot + (int)(((i->Displacement + 128) >> 9) & (StackSlots - 1));
        }

        var registers = (i->Base < 16 ? 1u << i->Base : 0) | (i->Index < 16 ? 1u << i->Index : 0);
        if ((registers & ~_strides) != 0)
        {
            return NoSlot;
        }

        return FirstStrideSlot + (isStore ? StrideSlots : 0) + (_strideCount++ & (StrideSlots - 1));
    }

    // As EmitCheck, which see.
    private void EmitSlotCheck(ColdKind miss, int size, int slot)
    {
        var set = PlaceOf(slot, IsStore(miss), out var place);
        if (set == HostRegister.Rcx)
        {
            _c.Load64(HostRegister.Rcx, HostRegister.Rsp, IsStore(miss) ? StateLayout.StoreTlb : StateLayout.LoadTlb);
        }

        _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x2B, true, T0, set, place); // sub
        _c.Bytes(0x48, 0x81, 0xFF); // cmp rdi, 4096 - size
        _c.Int32(4096 - size);
        _c.Bytes(0x0F, 0x87); // ja
        AddCold(miss);
        var cold = _colds + _coldCount - 1;
        cold->Slot = slot;
        cold->Size = size;
        _c.Int32(0);
        _c.Load64(HostRegister.Rcx, set, place + 8);
    }

    // The register and the distance from it at which an access finds a remembered page, or an entry of the TLB. The kernel's sets are not
    // at constant places: RCX is to be the present one.
    private readonly HostRegister PlaceOf(int slot, bool isStore, out int distance)
    {
        if (slot < FirstEntry)
        {
            distance = StateLayout.PageSlot(slot);
            return HostRegister.Rsp;
        }

        distance = (slot - FirstEntry) * TlbEntry.Size;
        if (_block->Privilege == 0)
        {
            return HostRegister.Rcx;
        }

        distance += StateLayout.UserTlb(isStore);
        return HostRegister.Rsp;
    }

    // Another page is remembered, and RDI is less by its address: to the stub, which goes on behind the check or behind this.
    private void EmitSlotFill(Cold* cold)
    {
        _c.Bytes(0x48, 0x8D, 0x0D); // lea rcx, [record]
        _c.Int32(5);
        EmitJump(IsStore(cold->Kind) ? _owner.FillStoreSlot : cold->Slot < FirstStrideSlot ? _owner.FindLoadSlot : _owner.FillLoadSlot);
        var record = (SlotRecord*)_c.Cursor;
        record->Behind = (int)((byte*)cold->Place + 4 + SlotLoadSize - (byte*)record);
        record->Slot = (ushort)StateLayout.PageSlot(cold->Slot);
        record->Limit = (ushort)(4096 - cold->Size);
        _c.Skip(sizeof(SlotRecord));
    }

    // RDI becomes the linear address that missed.
    private void EmitMissedAddress(Cold* cold)
    {
        if (cold->Slot >= FirstEntry)
        {
            var set = PlaceOf(cold->Slot, IsStore(cold->Kind), out var place);
            _c.RegisterMemory(OpcodePrefix.None, OpcodeMap.Primary, 0x03, true, T0, set, place); // add
        }
        else if (cold->Slot != NoSlot)
        {
            EmitSlotFill(cold);
        }
        else if (_block->Privilege != 0)
        {
            EmitUserEntry(0x03, T0, cold->Kind, 0); // add
        }
        else
        {
            _c.Bytes(0x48, 0x03, 0x39); // add rdi, [rcx]
        }
    }
}
