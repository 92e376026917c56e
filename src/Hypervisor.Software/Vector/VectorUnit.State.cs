using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Vector;

/// <content>Instructions that save and restore the registers: FXSAVE, XSAVE and their kin, MXCSR, cache line flushes.</content>
internal sealed unsafe partial class VectorUnit
{
    private const uint X87End = XsaveArea.Mxcsr;
    private const int HeaderEnd = 576;
    private const ulong Compacted = 1UL << 63;

    private bool ExecuteState(DecodedInstruction* instruction)
    {
        switch (instruction->Operation)
        {
            case Operation.Fxsave:
                return SaveLegacy(instruction);
            case Operation.Fxrstor:
                return RestoreLegacy(instruction);
            case Operation.Ldmxcsr:
                return LoadMxcsr(instruction);
            case Operation.Stmxcsr:
                return IsMxcsrUsable(instruction) && TryLinear(instruction, 4, 1, isStore: true, out var linear)
                    && (_mmu.TryStore(linear, 4, *(uint*)(Area + XsaveArea.Mxcsr)) || StackFaultIfStack(instruction));
            case Operation.Xsave or Operation.Xsaveopt:
                return Save(instruction, compact: false);
            case Operation.Xsavec:
                return Save(instruction, compact: true);
            case Operation.Xrstor:
                return Restore(instruction);
            case Operation.Clflush or Operation.Clflushopt or Operation.Clwb:
                // Caches are the host's and coherent; only the operand's faults remain.
                return TryLinear(instruction, 1, 1, isStore: false, out linear)
                    && (_mmu.TryLoadBytes(linear, _bounce, 1) || StackFaultIfStack(instruction));
            default:
                return Fault.Undefined(_state);
        }
    }

    private bool IsMxcsrUsable(DecodedInstruction* instruction) =>
        (instruction->Prefixes & Prefixes.Vex) != 0 ? IsAvxUsable() : IsSseUsable();

    private bool IsSseUsable()
    {
        if ((_state->Cr0 & ControlBits.Cr0Emulation) != 0 || (_state->Cr4 & ControlBits.Cr4Osfxsr) == 0)
        {
            return Fault.Undefined(_state);
        }

        return (_state->Cr0 & ControlBits.Cr0TaskSwitched) == 0 || Fault.Raise(_state, Fault.DeviceNotAvailable);
    }

    private bool TryLinear(DecodedInstruction* instruction, int size, uint alignment, bool isStore, out ulong linear)
    {
        if (!OperandAddress.TryGetLinear(_state, instruction, size, isStore, out linear))
        {
            return false;
        }

        return (linear & (alignment - 1)) == 0 || Fault.Protection(_state);
    }

    private bool IsCode64 => (_state->Mode & (uint)VpMode.Code64) != 0;

    private bool LoadMxcsr(DecodedInstruction* instruction)
    {
        if (!IsMxcsrUsable(instruction) || !TryLinear(instruction, 4, 1, isStore: false, out var linear))
        {
            return false;
        }

        if (!_mmu.TryLoad(linear, 4, out var value))
        {
            return StackFaultIfStack(instruction);
        }

        if ((value & ~(ulong)XsaveArea.MxcsrSupported) != 0)
        {
            return Fault.Protection(_state);
        }

        *(uint*)(Area + XsaveArea.Mxcsr) = (uint)value;
        return true;
    }

    private bool SaveLegacy(DecodedInstruction* instruction)
    {
        if ((_state->Cr0 & (ControlBits.Cr0Emulation | ControlBits.Cr0TaskSwitched)) != 0)
        {
            return Fault.Raise(_state, Fault.DeviceNotAvailable);
        }

        if (!TryLinear(instruction, XsaveArea.LegacySize, 16, isStore: true, out var linear))
        {
            return false;
        }

        if (!_mmu.TryProbeStore(linear, XsaveArea.LegacySize))
        {
            return StackFaultIfStack(instruction);
        }

        var length = XsaveArea.Xmm + ((IsCode64 ? 16 : 8) * 16);
        Buffer.MemoryCopy(Area, _bounce, BounceSize, length);
        NarrowPointers(instruction);
        return _mmu.TryStoreBytes(linear, _bounce, length);
    }

    /// <summary>Without REX.W the pointers are a 32-bit offset and a selector, which new processors leave zero.</summary>
    private void NarrowPointers(DecodedInstruction* instruction)
    {
        if ((instruction->Prefixes & Prefixes.RexW) == 0)
        {
            *(uint*)(_bounce + XsaveArea.InstructionPointer + 4) = 0;
            *(uint*)(_bounce + XsaveArea.DataPointer + 4) = 0;
        }
    }

    private bool RestoreLegacy(DecodedInstruction* instruction)
    {
        if ((_state->Cr0 & (ControlBits.Cr0Emulation | ControlBits.Cr0TaskSwitched)) != 0)
        {
            return Fault.Raise(_state, Fault.DeviceNotAvailable);
        }

        if (!TryLinear(instruction, XsaveArea.LegacySize, 16, isStore: false, out var linear))
        {
            return false;
        }

        if (!_mmu.TryLoadBytes(linear, _bounce, XsaveArea.LegacySize))
        {
            return StackFaultIfStack(instruction);
        }

        var mxcsr = *(uint*)(_bounce + XsaveArea.Mxcsr);
        if ((mxcsr & ~XsaveArea.MxcsrSupported) != 0)
        {
            return Fault.Protection(_state);
        }

        NarrowPointers(instruction);
        RestoreX87();
        *(uint*)(Area + XsaveArea.Mxcsr) = mxcsr;
        RestoreXmm();
        return true;
    }

    private void RestoreX87()
    {
        Buffer.MemoryCopy(_bounce, Area, X87End, X87End);
        Buffer.MemoryCopy(_bounce + XsaveArea.X87Registers, Area + XsaveArea.X87Registers, 128, 128);
        Area[XsaveArea.TagByte + 1] = 0;
        *(ushort*)(Area + XsaveArea.LastOpcode) &= 0x7FF;
        XsaveArea.SetControlWord(Area, *(ushort*)(Area + XsaveArea.ControlWord));
        XsaveArea.SanitizeRegisters(Area);
    }

    private void RestoreXmm()
    {
        var length = (IsCode64 ? 16 : 8) * 16;
        Buffer.MemoryCopy(_bounce + XsaveArea.Xmm, Area + XsaveArea.Xmm, length, length);
    }

    private bool IsXsaveUsable()
    {
        if ((_state->Cr4 & ControlBits.Cr4Osxsave) == 0)
        {
            return Fault.Undefined(_state);
        }

        return (_state->Cr0 & ControlBits.Cr0TaskSwitched) == 0 || Fault.Raise(_state, Fault.DeviceNotAvailable);
    }

    private ulong RequestedComponents => (uint)_state->Gpr[0] | (_state->Gpr[2] << 32);

    private static int AreaLength(ulong components) => (components & XsaveArea.ComponentAvx) != 0 ? XsaveArea.Size : HeaderEnd;

    private bool Save(DecodedInstruction* instruction, bool compact)
    {
        // Only AVX lies behind the header, so that the compacted format puts it where the standard one does.
        var requested = RequestedComponents & _state->Xcr0;
        var length = AreaLength(requested);
        if (!IsXsaveUsable() || !TryLinear(instruction, length, 64, isStore: true, out var linear))
        {
            return false;
        }

        if (!_mmu.TryProbeStore(linear, length) || !_mmu.TryLoadBytes(linear, _bounce, length))
        {
            return StackFaultIfStack(instruction);
        }

        if ((requested & XsaveArea.ComponentX87) != 0)
        {
            Buffer.MemoryCopy(Area, _bounce, X87End, X87End);
            Buffer.MemoryCopy(Area + XsaveArea.X87Registers, _bounce + XsaveArea.X87Registers, 128, 128);
            NarrowPointers(instruction);
        }

        if ((requested & (XsaveArea.ComponentSse | XsaveArea.ComponentAvx)) != 0)
        {
            *(ulong*)(_bounce + XsaveArea.Mxcsr) = *(ulong*)(Area + XsaveArea.Mxcsr);
        }

        var count = (IsCode64 ? 16 : 8) * 16;
        if ((requested & XsaveArea.ComponentSse) != 0)
        {
            Buffer.MemoryCopy(Area + XsaveArea.Xmm, _bounce + XsaveArea.Xmm, count, count);
        }

        if ((requested & XsaveArea.ComponentAvx) != 0)
        {
            Buffer.MemoryCopy(Area + XsaveArea.YmmHigh, _bounce + XsaveArea.YmmHigh, count, count);
        }

        var bitmap = (ulong*)(_bounce + XsaveArea.StateBitmap);
        var inUse = _state->UppersInUse != 0 ? requested : requested & ~XsaveArea.ComponentAvx;
        if (compact)
        {
            bitmap[0] = inUse;
            bitmap[1] = requested | Compacted;
        }
        else
        {
            bitmap[0] = (bitmap[0] & ~requested) | inUse;
        }

        return _mmu.TryStoreBytes(linear, _bounce, length);
    }

    private bool Restore(DecodedInstruction* instruction)
    {
        var requested = RequestedComponents & _state->Xcr0;
        var length = AreaLength(requested);
        if (!IsXsaveUsable() || !TryLinear(instruction, length, 64, isStore: false, out var linear))
        {
            return false;
        }

        if (!_mmu.TryLoadBytes(linear, _bounce, length))
        {
            return StackFaultIfStack(instruction);
        }

        var bitmap = (ulong*)(_bounce + XsaveArea.StateBitmap);
        var present = bitmap[0];
        var isCompact = (bitmap[1] & Compacted) != 0;
        var mxcsr = *(uint*)(_bounce + XsaveArea.Mxcsr);
        var loadsMxcsr = isCompact
            ? (requested & present & XsaveArea.ComponentSse) != 0
            : (requested & (XsaveArea.ComponentSse | XsaveArea.ComponentAvx)) != 0;
        if (!IsHeaderValid(bitmap, isCompact) || (loadsMxcsr && (mxcsr & ~XsaveArea.MxcsrSupported) != 0))
        {
            return Fault.Protection(_state);
        }

        if ((requested & XsaveArea.ComponentX87) != 0)
        {
            if ((present & XsaveArea.ComponentX87) != 0)
            {
                NarrowPointers(instruction);
                RestoreX87();
            }
            else
            {
                XsaveArea.InitializeX87(Area);
                new Span<byte>(Area + XsaveArea.X87Registers, 128).Clear();
            }
        }

        if (loadsMxcsr)
        {
            *(uint*)(Area + XsaveArea.Mxcsr) = mxcsr;
        }
        else if ((requested & XsaveArea.ComponentSse) != 0)
        {
            *(uint*)(Area + XsaveArea.Mxcsr) = XsaveArea.MxcsrDefault;
        }

        RestoreVectors(requested, present);
        return true;
    }

    private bool IsHeaderValid(ulong* bitmap, bool isCompact)
    {
        for (var i = 2; i < 8; i++)
        {
            if (bitmap[i] != 0)
            {
                return false;
            }
        }

        var components = bitmap[1] & ~Compacted;
        return isCompact
            ? (components & ~_state->Xcr0) == 0 && (bitmap[0] & ~components) == 0
            : bitmap[1] == 0 && (bitmap[0] & ~_state->Xcr0) == 0;
    }

    private void RestoreVectors(ulong requested, ulong present)
    {
        var count = (IsCode64 ? 16 : 8) * 16;
        if ((requested & XsaveArea.ComponentSse) != 0)
        {
            if ((present & XsaveArea.ComponentSse) != 0)
            {
                RestoreXmm();
            }
            else
            {
                new Span<byte>(Area + XsaveArea.Xmm, count).Clear();
            }
        }

        if ((requested & XsaveArea.ComponentAvx) != 0)
        {
            var isPresent = (present & XsaveArea.ComponentAvx) != 0;
            _state->UppersInUse = isPresent || !IsCode64 ? 1u : 0;
            if (isPresent)
            {
                Buffer.MemoryCopy(_bounce + XsaveArea.YmmHigh, Area + XsaveArea.YmmHigh, count, count);
            }
            else
            {
                new Span<byte>(Area + XsaveArea.YmmHigh, count).Clear();
            }
        }
    }
}
