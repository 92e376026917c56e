using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Emitter;

namespace Vitro.Hypervisor.Software.Translator;

/// <content>Which flags are still wanted at each instruction, and where they are meanwhile.</content>
internal unsafe ref partial struct BlockTranslator
{
    // Where the flags are; else the number of the instruction that set them and can set them once more.
    private const int FlagsInRegister = -1;
    private const int FlagsInState = -2;

    private void ComputeLiveness()
    {
        _lastVector = -1;
        _lastX87 = -1;
        var last = _instructions + _count - 1;
        var live = IsEndCertain(last) ? LazyFlags.All : LiveAtEnd(last);
        for (var n = _count - 1; n >= 0; n--)
        {
            var replaced = 0u;
            var read = _translatable[n] ? FlagUse.Read(_instructions + n, out replaced) : LazyFlags.All;
            live = (live & ~replaced) | read;
            _live[n] = live;
            if (_instructions[n].Operation < Operation.FirstVector)
            {
                continue;
            }

            if (_lastVector < 0 && VectorForm.IsNative(_instructions + n))
            {
                _lastVector = n;
            }

            if (_lastX87 < 0 && VectorForm.UsesX87(_instructions + n))
            {
                _lastX87 = n;
            }
        }
    }

    // The interpreter wants all flags.
    private readonly uint ReadFlags(DecodedInstruction* i, out uint replaced)
    {
        if (IsTranslatable(i, _block->Privilege, _isCode64))
        {
            return FlagUse.Read(i, out replaced);
        }

        replaced = 0;
        return LazyFlags.All;
    }

    // Whether what follows the block may as well want all flags: it ends with a conditional branch on flags that an instruction before
    // has just set, and nothing between them destroys any. So end most blocks, and looking ahead costs as much as translating them.
    private readonly bool IsEndCertain(DecodedInstruction* last)
    {
        if (last->Operation != Operation.Jcc)
        {
            return false;
        }

        for (var i = last - 1; i >= _instructions; i--)
        {
            switch (i->Operation)
            {
                case Operation.Mov or Operation.Lea or Operation.Movzx or Operation.Movsx when i->Operation == Operation.Lea || !i->IsMemory:
                    continue;
                case Operation.Add or Operation.Sub or Operation.Cmp or Operation.Or or Operation.And or Operation.Xor or Operation.Test:
                    return true;
                default:
                    return false;
            }
        }

        return false;
    }

    private readonly uint LiveAtEnd(DecodedInstruction* last)
    {
        var next = AddressOf((ulong)(last->Offset + last->Length));
        var target = AddressOf(last->Immediate);
        return last->Operation switch
        {
            Operation.Jcc or Operation.Jrcxz or Operation.Loop => LiveAt(next) | LiveAt(target),
            Operation.Jmp or Operation.Call => LiveAt(target),
            Operation.Ret or Operation.JmpIndirect or Operation.CallIndirect => LazyFlags.All,
            _ => LiveAt(next),
        };
    }

    // Flags that code at an address may read before it replaces them. No compiler leaves a flag for code that is patched at run time.
    private readonly uint LiveAt(ulong linear)
    {
        const int Depth = 8;
        var pending = LazyFlags.All;
        var live = 0u;
        var isBlockStart = true;
        DecodedInstruction instruction;
        for (var n = 0; n < Depth; n++)
        {
            byte* host;
            if (((linear ^ _linear) & ~0xFFFUL) == 0)
            {
                host = _block->Block->HostPc + (long)(linear - _linear);
            }
            else
            {
                var entry = _state->FetchTlb + ((linear >> 12) & (TlbEntry.SetSize - 1));
                if (linear - entry->Tag >= 4096)
                {
                    break;
                }

                host = (byte*)(entry->Host + (linear - entry->Tag));
            }

            if (isBlockStart)
            {
                // What ends in one of several ways is joined at blocks that are known already.
                var known = _owner.Find(host, linear, _block->Privilege);
                if (known != null)
                {
                    return live | (pending & known->LiveFlags);
                }

                isBlockStart = false;
            }

            if (Decoder.Decode(host, (int)(4096 - (linear & 0xFFF)), (VpMode)_block->Block->Mode, 0, &instruction) != DecodeStatus.Decoded)
            {
                break;
            }

            var read = ReadFlags(&instruction, out var replaced);
            live |= read & pending;
            pending &= ~replaced;
            if (pending == 0)
            {
                break;
            }

            switch (instruction.Operation)
            {
                case Operation.Jmp or Operation.Call:
                    linear = Wrapped(linear + instruction.Immediate);
                    isBlockStart = true;
                    continue;
                case Operation.Jcc or Operation.Jrcxz or Operation.Loop or Operation.Ret or Operation.JmpIndirect or Operation.CallIndirect:
                    return live | pending;
                default:
                    linear = Wrapped(linear + instruction.Length);
                    continue;
            }
        }

        return live | pending;
    }

    // EFLAGS is about to be lost: notes how the flags are made again, or parks them in the state.
    private void ParkFlags()
    {
        if (_flags == FlagsInRegister)
        {
            var producer = FindProducer();
            if (producer >= 0)
            {
                _flags = producer;
            }
            else
            {
                ParkFlagsInState();
            }
        }
    }

    private void ParkFlagsInState()
    {
        if (_flags == FlagsInState)
        {
            return;
        }

        RestoreFlags(scratchFree: true);
        _flags = FlagsInState;
        _c.Move64(HostRegister.Rcx, HostRegister.Rax);
        TranslationStubs.EmitFlagsToAx(ref _c);
        _c.Store32(HostRegister.Rsp, StateLayout.ParkedFlags, HostRegister.Rax);
        _c.Move64(HostRegister.Rax, HostRegister.Rcx);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void RestoreFlags(bool scratchFree)
    {
        if (_flags != FlagsInRegister)
        {
            RestoreFlagsFromPlace(scratchFree);
        }
    }

    private void RestoreFlagsFromPlace(bool scratchFree)
    {
        var place = _flags;
        _flags = FlagsInRegister;
        if (place >= 0)
        {
            EmitFlagsAnew(_instructions + place, scratchFree);
            return;
        }

        if (scratchFree)
        {
            _c.Move64(HostRegister.Rcx, HostRegister.Rax);
        }
        else
        {
            _c.Store64(HostRegister.Rsp, StateLayout.ParkedRax, HostRegister.Rax);
        }

        _c.Load32(HostRegister.Rax, HostRegister.Rsp, StateLayout.ParkedFlags);
        TranslationStubs.EmitFlagsFromAx(ref _c);
        if (scratchFree)
        {
            _c.Move64(HostRegister.Rax, HostRegister.Rcx);
        }
        else
        {
            _c.Load64(HostRegister.Rax, HostRegister.Rsp, StateLayout.ParkedRax);
        }
    }

    // Before an instruction proper: what it does to the flags decides where they must be.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void SettleFlags(DecodedInstruction* i, bool scratchFree)
    {
        if (_flags != FlagsInRegister)
        {
            SettleParkedFlags(i, scratchFree);
        }
    }

    private void SettleParkedFlags(DecodedInstruction* i, bool scratchFree)
    {
        var read = FlagUse.Read(i, out var replaced);
        if (replaced == LazyFlags.All && read == 0)
        {
            _flags = FlagsInRegister;
        }
        else if (read != 0 || replaced != 0 || MayTouchFlags(i->Operation))
        {
            RestoreFlags(scratchFree);
        }
    }

    private static bool MayTouchFlags(Operation operation) => operation is >= Operation.Rol and <= Operation.Shrd
        or Operation.Bsf or Operation.Bsr or Operation.Tzcnt or Operation.Lzcnt or Operation.Cmps or Operation.Scas;
}
