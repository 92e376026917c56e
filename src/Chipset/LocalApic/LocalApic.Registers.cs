using static Vitro.Chipset.LocalApicSpec;

namespace Vitro.Chipset;

// The register file: xAPIC page, x2APIC MSRs, APIC base. All on the processor's own thread.
public sealed partial class LocalApic
{
    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        var lane = (int)(offset & 15);
        if (lane >= 4 || !TryRead((int)(offset >> 4) & 0xFF, out var value))
        {
            return 0;
        }

        return value >> (lane * 8);
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        // Registers are written as aligned 32-bit units; anything else is undefined (SDM) and ignored here.
        if ((offset & 15) == 0 && size >= 4)
        {
            TryWrite((int)(offset >> 4) & 0xFF, (uint)value);
        }
    }

    /// <summary>Reads APIC_BASE, TSC_DEADLINE or an x2APIC register; false means #GP.</summary>
    public bool TryReadMsr(uint msr, out ulong value)
    {
        value = 0;
        if (msr == MsrApicBase)
        {
            value = _apicBase;
            return true;
        }

        if (msr == MsrTscDeadline && _tscToNanoseconds is not null)
        {
            lock (_gate)
            {
                value = _tscDeadline;
            }

            return true;
        }

        if (msr is < MsrX2ApicFirst or > MsrX2ApicLast || !IsX2Apic)
        {
            return false;
        }

        var register = (int)(msr - MsrX2ApicFirst);
        switch (register)
        {
            case CommandLow:
                value = ReadInterruptCommand();
                return true;
            case Eoi or SelfIpi or CommandHigh or DestinationFormat or RemoteRead or ArbitrationPriority:
                return false;
            default:
                var known = TryRead(register, out var low);
                value = low;
                return known;
        }
    }

    /// <summary>Writes APIC_BASE, TSC_DEADLINE or an x2APIC register; false means #GP.</summary>
    public bool TryWriteMsr(uint msr, ulong value)
    {
        if (msr == MsrApicBase)
        {
            return TryWriteApicBase(value);
        }

        if (msr == MsrTscDeadline && _tscToNanoseconds is { } convert)
        {
            lock (_gate)
            {
                if (_timer.Mode == ApicTimerMode.TscDeadline)
                {
                    _tscDeadline = value;
                    _timer.WriteDeadline(value == 0 ? long.MaxValue : convert(value));
                    Schedule();
                }
            }

            return true;
        }

        if (msr is < MsrX2ApicFirst or > MsrX2ApicLast || !IsX2Apic)
        {
            return false;
        }

        var register = (int)(msr - MsrX2ApicFirst);
        if (register == CommandLow)
        {
            WriteInterruptCommand(value);
            return true;
        }

        if (value > uint.MaxValue)
        {
            return false;
        }

        switch (register)
        {
            case Eoi or ErrorStatus when value != 0:
            case TaskPriority8 when value > 0xFF:
            case Id or LogicalDestination or DestinationFormat or CommandHigh:
                return false;
            case SelfIpi:
                if (value > 0xFF)
                {
                    return false;
                }

                Send(DestinationShorthand.Self, new InterruptMessage(0, false, DeliveryMode.Fixed, (byte)value, false));
                return true;
            default:
                return TryWrite(register, (uint)value);
        }
    }

    /// <summary>Reads the interrupt command register: destination in bits 63:32 (xAPIC: 63:56).</summary>
    public ulong ReadInterruptCommand() => Volatile.Read(ref _command);

    /// <summary>Writes the interrupt command register, which sends the message.</summary>
    public void WriteInterruptCommand(ulong value)
    {
        var low = (uint)value & CommandWritable;
        Volatile.Write(ref _command, low | (value & 0xFFFF_FFFF_0000_0000));
        var destination = (uint)(value >> 32);
        var isLogical = (low & 0x800) != 0;
        if (!IsX2Apic)
        {
            destination >>= 24;
            if (destination == 0xFF && !isLogical)
            {
                destination = InterruptMessage.Broadcast;
            }
        }

        var delivery = (DeliveryMode)((low >> 8) & 7);
        var isLevel = (low & 0x8000) != 0;
        var asserts = (low & 0x4000) != 0;
        if (delivery == DeliveryMode.Init && isLevel && !asserts)
        {
            // INIT level de-assert only synchronised arbitration ids of old buses.
            return;
        }

        // Inter-processor interrupts are edges whatever the trigger bit says.
        Send((DestinationShorthand)((low >> 18) & 3), new InterruptMessage(destination, isLogical, delivery, (byte)low, false));
    }

    // The register's name would hide the property's in a pattern.
    private const int TaskPriority8 = LocalApicSpec.TaskPriority;

    private void Send(DestinationShorthand shorthand, in InterruptMessage message)
    {
        if (message.Delivery is DeliveryMode.Fixed or DeliveryMode.LowestPriority && message.Vector < FirstVector)
        {
            RaiseError(ErrorSendIllegalVector);
            return;
        }

        _bus.Send(message, shorthand, Index);
    }

    private uint ReadLogicalDestination() =>
        IsX2Apic ? ((uint)(Index >> 4) << 16) | (1u << (Index & 15)) : Volatile.Read(ref _logicalDestination);

    private bool TryRead(int register, out uint value)
    {
        value = 0;
        switch (register)
        {
            case Id:
                value = IsX2Apic ? (uint)Index : (uint)Index << 24;
                return true;
            case LocalApicSpec.Version:
                value = VersionValue;
                return true;
            case TaskPriority8:
                value = TaskPriority;
                return true;
            case LocalApicSpec.ProcessorPriority:
                value = ProcessorPriority;
                return true;
            case Eoi or RemoteRead or ArbitrationPriority:
                return true;
            case LogicalDestination:
                value = ReadLogicalDestination();
                return true;
            case DestinationFormat:
                value = _destinationFormat;
                return true;
            case SpuriousVector:
                value = _spurious;
                return true;
            case >= InServiceFirst and < InServiceFirst + 8:
                value = Part(_inService, register - InServiceFirst);
                return true;
            case >= TriggerModeFirst and < TriggerModeFirst + 8:
                value = Part(_triggerMode, register - TriggerModeFirst);
                return true;
            case >= RequestFirst and < RequestFirst + 8:
                value = Part(_request, register - RequestFirst);
                return true;
            case ErrorStatus:
                value = _errorStatus;
                return true;
            case CommandLow:
                value = (uint)ReadInterruptCommand();
                return true;
            case CommandHigh:
                value = (uint)(ReadInterruptCommand() >> 32);
                return true;
            case >= LvtFirst and <= LvtLast:
                value = _lvt[register - LvtFirst];
                return true;
            case InitialCount:
                value = _timer.InitialCount;
                return true;
            case CurrentCount:
                lock (_gate)
                {
                    value = _timer.CurrentCount(_clock.Nanoseconds);
                }

                return true;
            case DivideConfiguration:
                value = _timer.DivideConfiguration;
                return true;
            default:
                RaiseIllegalRegister();
                return false;
        }
    }

    private bool TryWrite(int register, uint value)
    {
        switch (register)
        {
            case TaskPriority8:
                TaskPriority = (byte)value;
                return true;
            case Eoi:
                EndOfInterrupt();
                return true;
            case LogicalDestination:
                Volatile.Write(ref _logicalDestination, value & 0xFF00_0000);
                return true;
            case DestinationFormat:
                Volatile.Write(ref _destinationFormat, value | 0x0FFF_FFFF);
                return true;
            case SpuriousVector:
                WriteSpurious(value);
                return true;
            case ErrorStatus:
                lock (_gate)
                {
                    _errorStatus = _errorPending;
                    _errorPending = 0;
                }

                return true;
            case CommandLow:
                WriteInterruptCommand((_command & 0xFFFF_FFFF_0000_0000) | value);
                return true;
            case CommandHigh:
                Volatile.Write(ref _command, (uint)_command | ((ulong)(value & 0xFF00_0000) << 32));
                return true;
            case >= LvtFirst and <= LvtLast:
                WriteLvt(register - LvtFirst, value);
                return true;
            case InitialCount:
                lock (_gate)
                {
                    _timer.WriteInitialCount(value, _clock.Nanoseconds);
                    Schedule();
                }

                return true;
            case DivideConfiguration:
                lock (_gate)
                {
                    _timer.WriteDivideConfiguration(value, _clock.Nanoseconds);
                    Schedule();
                }

                return true;
            default:
                RaiseIllegalRegister();
                return false;
        }
    }

    private void RaiseIllegalRegister()
    {
        // In x2APIC mode the access is a #GP instead.
        if (!IsX2Apic)
        {
            RaiseError(ErrorIllegalRegister);
        }
    }

    private void WriteSpurious(uint value)
    {
        lock (_gate)
        {
            Volatile.Write(ref _spurious, value & SpuriousWritable);
            if ((value & SpuriousEnable) == 0)
            {
                // Software disable sets every mask and keeps them set.
                for (var i = 0; i < LvtCount; i++)
                {
                    _lvt[i] |= LvtMasked;
                }
            }
        }
    }

    private void WriteLvt(int entry, uint value)
    {
        lock (_gate)
        {
            value &= LvtWritable[entry];
            if ((_spurious & SpuriousEnable) == 0)
            {
                value |= LvtMasked;
            }

            if (entry == LvtTimer)
            {
                var mode = (ApicTimerMode)((value >> 17) & 3);
                if (mode > ApicTimerMode.Periodic && (mode != ApicTimerMode.TscDeadline || _tscToNanoseconds is null))
                {
                    mode = ApicTimerMode.OneShot;
                    value &= ~(3u << 17);
                }

                _timer.WriteMode(mode, _clock.Nanoseconds);
                Schedule();
            }

            Volatile.Write(ref _lvt[entry], value);
        }

        if (entry == LvtLint0)
        {
            SignalIfPending();
        }
    }

    private bool TryWriteApicBase(ulong value)
    {
        const ulong Allowed = ApicBaseAddress | ApicBaseEnable | ApicBaseX2Apic | ApicBaseBsp;
        const ulong Mode = ApicBaseEnable | ApicBaseX2Apic;
        var mode = value & Mode;
        if ((value & ~Allowed) != 0 || (mode & ApicBaseX2Apic) != 0 && !_hasX2Apic)
        {
            return false;
        }

        lock (_gate)
        {
            var present = _apicBase & Mode;
            // Transitions the SDM allows: disabled <-> xAPIC -> x2APIC -> disabled.
            var isLegal = mode == present || mode switch
            {
                0 => true,
                ApicBaseEnable => present == 0,
                Mode => present == ApicBaseEnable,
                _ => false,
            };
            if (!isLegal)
            {
                return false;
            }

            Volatile.Write(ref _apicBase, (value & ~ApicBaseBsp) | (_apicBase & ApicBaseBsp));
            if (mode == 0 && present != 0)
            {
                ResetRegisters();
            }
            else if (mode == Mode && present != Mode)
            {
                Volatile.Write(ref _command, (uint)_command);
            }
        }

        return true;
    }

    private static uint Part(ulong[] register, int part) => (uint)(Volatile.Read(ref register[part >> 1]) >> ((part & 1) * 32));
}
