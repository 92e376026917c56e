namespace Vitro.Hypervisor.Software;

/// <content>Control registers and what changing them entails (Intel SDM volume 3, section 2.5 and chapters 4 and 9).</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private const ulong Cr3KeepTranslations = 1UL << 63;

    // Changes of these bits leave no cached translation valid.
    private const ulong Cr0Translation = ControlBits.Cr0Paging | ControlBits.Cr0WriteProtect | ControlBits.Cr0Protection;
    private const ulong Cr4Translation = ControlBits.Cr4Pae | ControlBits.Cr4Pse | ControlBits.Cr4Pge | ControlBits.Cr4Smep
        | ControlBits.Cr4Smap | ControlBits.Cr4Pcide;

    private bool TryReadControl(int number, out ulong value)
    {
        value = 0;
        if (number is not (0 or 2 or 3 or 4 or 8))
        {
            return Fault.Undefined(State);
        }

        if (State->Cpl != 0)
        {
            return Fault.Protection(State);
        }

        value = number switch
        {
            0 => State->Cr0,
            2 => State->Cr2,
            3 => State->Cr3,
            4 => State->Cr4,
            _ => _interrupts.Cr8,
        };
        return true;
    }

    private bool TryWriteControl(int number, ulong value)
    {
        if (number is not (0 or 2 or 3 or 4 or 8))
        {
            return Fault.Undefined(State);
        }

        if (State->Cpl != 0)
        {
            return Fault.Protection(State);
        }

        switch (number)
        {
            case 0:
                return TryWriteCr0(value);
            case 2:
                State->Cr2 = value;
                return true;
            case 3:
                return TryWriteCr3(value);
            case 4:
                return TryWriteCr4(value);
            default:
                if (value > 15)
                {
                    return Fault.Protection(State);
                }

                _interrupts.Cr8 = (byte)value;
                return true;
        }
    }

    private bool TryWriteCr0(ulong value)
    {
        if (value >> 32 != 0)
        {
            return Fault.Protection(State);
        }

        value = (value & ControlBits.Cr0Defined) | ControlBits.Cr0ExtensionType;
        var old = State->Cr0;
        var paging = (value & ControlBits.Cr0Paging) != 0;
        var protection = (value & ControlBits.Cr0Protection) != 0;
        if ((paging && !protection)
            || ((value & ControlBits.Cr0NotWriteThrough) != 0 && (value & ControlBits.Cr0CacheDisable) == 0)
            || (!paging && (State->Cr4 & ControlBits.Cr4Pcide) != 0)
            || (!paging && IsCode64))
        {
            return Fault.Protection(State);
        }

        var efer = State->Efer;
        if (paging && (old & ControlBits.Cr0Paging) == 0)
        {
            if ((efer & ControlBits.EferLongModeEnable) != 0)
            {
                if ((State->Cr4 & ControlBits.Cr4Pae) == 0 || (State->Cs.Attributes & SegmentBits.Long) != 0)
                {
                    return Fault.Protection(State);
                }

                efer |= ControlBits.EferLongModeActive;
            }
            else if ((State->Cr4 & ControlBits.Cr4Pae) != 0 && !Mmu.TryLoadPdptes(State->Cr3))
            {
                return Fault.Protection(State);
            }
        }
        else if (!paging)
        {
            efer &= ~ControlBits.EferLongModeActive;
        }

        State->Efer = efer;
        State->Cr0 = value;
        if (((old ^ value) & Cr0Translation) != 0)
        {
            Mmu.FlushAll();
        }

        if (!protection)
        {
            State->Cpl = 0;
        }

        UpdateMode();
        return true;
    }

    private bool TryWriteCr3(ulong value)
    {
        var hasContexts = (State->Cr4 & ControlBits.Cr4Pcide) != 0;
        var keep = hasContexts && (value & Cr3KeepTranslations) != 0;
        if (hasContexts)
        {
            value &= ~Cr3KeepTranslations;
        }

        if (!IsLongModeActive)
        {
            value = (uint)value;
        }
        else if ((value >> ControlBits.PhysicalAddressBits) != 0)
        {
            return Fault.Protection(State);
        }

        if (Mmu.UsesPdptes && !Mmu.TryLoadPdptes(value))
        {
            return Fault.Protection(State);
        }

        State->Cr3 = value;
        Mmu.SwitchContext(hasContexts ? (uint)value & 0xFFF : 0, keep);
        return true;
    }

    private bool TryWriteCr4(ulong value)
    {
        var old = State->Cr4;
        if ((value & ~ControlBits.Cr4Supported) != 0
            || (IsLongModeActive && (value & ControlBits.Cr4Pae) == 0)
            || ((value & ControlBits.Cr4Pcide) != 0 && !IsLongModeActive)
            || ((value & ~old & ControlBits.Cr4Pcide) != 0 && (State->Cr3 & 0xFFF) != 0))
        {
            return Fault.Protection(State);
        }

        if ((State->Cr0 & ControlBits.Cr0Paging) != 0 && !IsLongModeActive && (value & ControlBits.Cr4Pae) != 0
            && ((old ^ value) & Cr4Translation) != 0 && !Mmu.TryLoadPdptes(State->Cr3))
        {
            return Fault.Protection(State);
        }

        State->Cr4 = value;
        if (((old ^ value) & Cr4Translation) != 0)
        {
            Mmu.FlushAll();
            if (((old ^ value) & ControlBits.Cr4Pcide) != 0)
            {
                Mmu.SwitchContext((value & ControlBits.Cr4Pcide) != 0 ? (uint)State->Cr3 & 0xFFF : 0, keep: false);
            }
        }

        UpdateMode();
        return true;
    }

    private bool TryLoadMachineStatus(ushort value)
    {
        if (State->Cpl != 0)
        {
            return Fault.Protection(State);
        }

        // PE can be set this way, not cleared.
        return TryWriteCr0((State->Cr0 & ~0xEUL) | (value & 0xFu));
    }

    private bool TryInvalidateContext(ulong type, ulong descriptor, ulong linear)
    {
        var context = (uint)descriptor & 0xFFF;
        if (type > 3 || (type < 2 && (descriptor >> 12) != 0)
            || (type < 2 && context != 0 && (State->Cr4 & ControlBits.Cr4Pcide) == 0)
            || (type == 0 && !IsCanonical(linear)))
        {
            return Fault.Protection(State);
        }

        switch (type)
        {
            case 0:
                Mmu.FlushPage(linear, context);
                break;
            case 1:
                Mmu.FlushContext(context);
                break;
            case 2:
                Mmu.FlushAll();
                break;
            default:
                Mmu.FlushLocal();
                break;
        }

        return true;
    }

    private bool TryWriteXcr0(uint number, ulong value)
    {
        if (State->Cpl != 0 || number != 0 || (value & 1) == 0 || (value & ~SupportedXcr0) != 0 || (value & 6) == 4)
        {
            return Fault.Protection(State);
        }

        State->Xcr0 = value;
        return true;
    }
}
