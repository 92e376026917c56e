using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>
/// Windows: accesses off the same registers that lie close together have one TLB check, made by the first of them for all. Where
/// the window lies in the host then waits in the state for the others, which do not touch the flags.
/// </content>
/// <remarks>
/// Where the check fails for good, as the window crosses a page's end or a store is refused, a translation without windows goes on
/// from the first access. What a window promises ends when C# may have changed the TLB: behind an instruction that was
/// interpreted within a window the block is not resumed.
/// </remarks>
internal unsafe ref partial struct BlockTranslator
{
    // Bytes: a window of 512 crosses a page's end in one of eight places.
    private const int WidestWindow = 512;
    private const int FarthestDisplacement = int.MaxValue - (2 * WidestWindow);
    private const uint AnyRegister = uint.MaxValue;
    private const byte GuestStack = 4;

    private struct Window
    {
        public byte Base;
        public byte Index;
        public byte Scale;
        public byte Segment;
        public byte Slot;
        public bool IsStore;
        public int Members;
        public int First;
        public int Last;

        // Where it begins and ends, from the registers' values at its first access.
        public long Low;
        public long High;

        // By how much its base has been raised since.
        public long Raised;

        // What an operand at a place in it was found to be aligned to, in bytes; 0 when none has been looked at.
        public int AlignedTo;
        public int AlignedPlace;
    }

    private struct Access
    {
        // Number of the window, counted from 1; 0 when the instruction has none.
        public int Window;
        public long Place;

        // Whether a window lives on behind the instruction.
        public bool IsWithin;
    }

    // With the block's operands in memory: most short blocks have one at most, and nothing to share.
    private void FindWindows(int accesses)
    {
        _windowCount = 0;
        new Span<Access>(_accesses, _count).Clear();
        if (_block->IsWindowless || _block->Block->Crosses || accesses < 2)
        {
            return;
        }

        var open = stackalloc Window*[StateLayout.Windows];
        for (var slot = 0; slot < StateLayout.Windows; slot++)
        {
            open[slot] = null;
        }

        var grouped = 0;
        for (var n = 0; n < _count; n++)
        {
            var i = _instructions + n;
            var written = AnyRegister;
            var raised = -1;
            var amount = 0L;
            if (_translatable[n])
            {
                if (n >= grouped && TryFindGroup(n, out var group) && IsBestAlone(group))
                {
                    grouped = group.Last + 1;
                }

                if (n >= grouped && TryGetAccess(i, out var size, out var isStore))
                {
                    Join(open, n, size, isStore);
                }

                if (_windowCount != 0)
                {
                    written = RegisterUse.Written(i, Word, out raised, out amount);
                }
            }

            if (_windowCount != 0)
            {
                Follow(open, written, raised, amount);
            }
        }

        for (var n = 0; n < _windowCount; n++)
        {
            var window = _windows + n;
            for (var at = window->First; window->Members > 1 && at < window->Last; at++)
            {
                _accesses[at].IsWithin = true;
            }
        }
    }

    // What becomes of open windows when an instruction writes registers, or raises one by a constant.
    private static void Follow(Window** open, uint written, int raised, long amount)
    {
        for (var slot = 0; slot < StateLayout.Windows; slot++)
        {
            var window = open[slot];
            if (window == null)
            {
                continue;
            }

            if (((written >> window->Base) & 1) != 0 || ((written >> window->Index) & 1) != 0 || window->Index == raised)
            {
                open[slot] = null;
            }
            else if (window->Base == raised)
            {
                window->Raised += amount;
            }
        }
    }

    private void Join(Window** open, int number, int size, bool isStore)
    {
        var i = _instructions + number;
        var isMemory = i->IsMemory;
        var baseRegister = isMemory ? i->Base : GuestStack;
        var index = isMemory ? i->Index : DecodedInstruction.NoRegister;
        var scale = isMemory ? i->Scale : (byte)0;
        var segment = isMemory && i->Segment >= 4 ? i->Segment : (byte)0;
        var displacement = isMemory ? i->Displacement : StackDisplacement(i);
        var free = 0;
        for (var slot = 0; slot < StateLayout.Windows; slot++)
        {
            var window = open[slot];
            if (window == null)
            {
                free = slot;
                continue;
            }

            if (window->Base == baseRegister && window->Index == index && window->Scale == scale && window->Segment == segment)
            {
                var place = displacement + window->Raised;
                var low = Math.Min(window->Low, place);
                var high = Math.Max(window->High, place + size);
                if (high - low <= WidestWindow)
                {
                    window->Low = low;
                    window->High = high;
                    window->IsStore |= isStore;
                    window->Members++;
                    window->Last = number;
                    _accesses[number].Window = (int)(window - _windows) + 1;
                    _accesses[number].Place = place;
                    return;
                }

                free = slot;
                break;
            }

            if (open[free] != null && window->Last < open[free]->Last)
            {
                free = slot;
            }
        }

        var added = _windows + _windowCount++;
        *added = new Window
        {
            Base = baseRegister,
            Index = index,
            Scale = scale,
            Segment = segment,
            Slot = (byte)free,
            IsStore = isStore,
            Members = 1,
            First = number,
            Last = number,
            Low = displacement,
            High = displacement + size,
        };
        open[free] = added;
        _accesses[number].Window = _windowCount;
        _accesses[number].Place = displacement;
    }

    // Where the word of a stack instruction lies, from the stack pointer before it.
    private readonly long StackDisplacement(DecodedInstruction* i) => i->Operation is Operation.Push or Operation.Call ? -Word : 0;

    // The operand in memory, or the word of the stack, as one with ModRM.
    private readonly DecodedInstruction Operand(DecodedInstruction* i)
    {
        if (i->IsMemory)
        {
            var memory = *i;
            memory.Segment = i->Segment >= 4 ? i->Segment : (byte)0;
            return memory;
        }

        return new DecodedInstruction
        {
            ModRmOffset = 1,
            Base = GuestStack,
            Index = DecodedInstruction.NoRegister,
            AddressSize = (byte)Word,
            Displacement = StackDisplacement(i),
        };
    }

    // The one operand in memory of an instruction that may be in a window: the word of plain stack instructions.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly bool TryGetAccess(DecodedInstruction* i, out int size, out bool isStore)
    {
        if (i->IsMemory || i->Operation is Operation.Push or Operation.Pop or Operation.Call or Operation.Ret)
        {
            return TryGetPresentAccess(i, out size, out isStore);
        }

        size = 0;
        isStore = false;
        return false;
    }

    private readonly bool TryGetPresentAccess(DecodedInstruction* i, out int size, out bool isStore)
    {
        if (IsPlainPush(i) || i->Operation == Operation.Call)
        {
            size = Word;
            isStore = true;
            return true;
        }

        if (IsPlainPop(i) || i->Operation == Operation.Ret)
        {
            size = Word;
            isStore = false;
            return true;
        }

        size = 0;
        isStore = false;
        if (!i->IsMemory || i->ModRmOffset == 0 || i->AddressSize != Word || (i->Segment >= 4 && !_isCode64)
            || Math.Abs(i->Displacement) > FarthestDisplacement)
        {
            return false;
        }

        switch (i->Operation)
        {
            case Operation.Lea or Operation.Nop or Operation.Fence or Operation.X87 or Operation.Cmpxchg8b or Operation.Cmpxchg16b
                or (>= Operation.FirstSystem and < Operation.FirstVector):
                return false;
            case Operation.Bt or Operation.Bts or Operation.Btr or Operation.Btc when i->Form == OperandForm.RmReg:
                return false;
            case Operation.Push or Operation.CallIndirect or Operation.JmpIndirect:
                size = Word;
                return true;
            case Operation.Div or Operation.Idiv or (>= Operation.Andn and <= Operation.Shrx):
                size = i->OperandSize;
                return true;
            case Operation.Vector:
                _ = VectorForm.TryFind(i, out var form);
                size = (i->Prefixes & Prefixes.Vex) != 0 ? VexTable.MemorySize(i, form) : MemorySize(i, form);
                isStore = form.Has(ThunkTraits.WritesRm);
                return true;
            default:
                size = i->SourceSize;
                isStore = (Roles(i).Rm & Write) != 0;
                return true;
        }
    }

    // False when the present instruction's operand is in no window. Else it is at RCX and a distance.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TryEmitWindowed(DecodedInstruction* i)
    {
        var window = _accesses[_index].Window;
        if (window == 0 || _windows[window - 1].Members == 1)
        {
            return false;
        }

        EmitWindowed(i);
        return true;
    }

    private void EmitWindowed(DecodedInstruction* i)
    {
        var access = _accesses + _index;
        var window = _windows + access->Window - 1;
        var slot = StateLayout.Window(window->Slot);
        if (window->First == _index)
        {
            ParkLiveFlags();
            var first = Operand(i);
            first.Displacement = window->Low;
            var low = EmitAddress(&first);
            EmitCheck(
                window->IsStore ? ColdKind.StoreWindow : ColdKind.LoadWindow, (int)(window->High - window->Low), SlotOf(&first, window->IsStore), low);
            EmitHostAddress();
            _c.Store64(HostRegister.Rsp, slot, HostRegister.Rcx);
        }
        else if (_windowInRcx != window->Slot || _windowInRcxUntil != _c.Cursor || (i->IsMemory && i->Operation is (Operation.Push or Operation.CallIndirect)))
        {
            // Those that push what they load begin anew when the push misses.
            _c.Load64(HostRegister.Rcx, HostRegister.Rsp, slot);
        }

        _windowInRcx = window->Slot;
        _isWindowed = true;
        _place = (int)(access->Place - window->Low);
    }

    // ModRM of the operand that was found last, and a register.
    private void EmitOperand(int register)
    {
        if (_isWindowed)
        {
            _c.ModRmMemory(register, T1, _place);
        }
        else
        {
            _c.ModRmIndexed(register, T0, T1, 0, 0);
        }
    }

    // lea destination, [the operand that was found last]
    private void EmitOperandAddress(int destination)
    {
        _c.Opcode(OpcodePrefix.None, OpcodeMap.Primary, 0x8D, true, destination, 0, 0);
        EmitOperand(destination);
    }

    // As for a miss; but when the window cannot be filled in, the code without windows is what comes next.
    private void EmitWindowCold(Cold* cold)
    {
        EmitMissedAddress(cold);
        _c.Store64(HostRegister.Rsp, StateLayout.Parked, HostRegister.Rdi);
        RestoreColdFlags(cold);
        AlignDisplacement(1);
        _c.Byte(0xE9);
        var place = (int*)_c.Cursor;
        _c.Int32(0);
        var index = cold->Index;
        EmitLeave(_owner.CalledLeave);
        var kind = cold->Kind == ColdKind.StoreWindow ? ExitKind.StoreWindow : ExitKind.LoadWindow;
        var record = BeginRecord(kind, OffsetOf(index), sizeof(ExitRecord));
        record->Retry = Distance(record, ReloadSize(_startIn[index], index) != 0 ? _c.Cursor : _starts[index]);
        EmitReload(_startIn[index], index);
        var link = (WindowLink*)_c.Cursor;
        record->Resume = Distance(record, (byte*)link);
        WindowLink.Begin(link, place, _block->Windows);
        _block->Windows = link;
        _c.Skip(sizeof(WindowLink));
    }
}
