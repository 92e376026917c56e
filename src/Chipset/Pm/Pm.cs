using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using static Vitro.Chipset.PmSpec;

namespace Vitro.Chipset;

/// <summary>
/// ACPI power management: PM1a event and control blocks, PM timer, power button, sleep state S5, and the reset registers
/// at ports 0xCF9 and 0x92. The machine is always in ACPI mode (the FADT names no SMI command port).
/// </summary>
/// <remarks>Thread-safe.</remarks>
public sealed class Pm : IVirtualDevice, IPortIo
{
    private readonly VmClock _clock;
    private readonly InterruptOutput _sci;
    private readonly IPowerEvents _events;
    private readonly VmTimer _carry;
    private readonly Lock _gate = new();
    private ushort _status;
    private ushort _enable;
    private ushort _control;
    private byte _reset;
    private byte _fastReset;
    private bool _running;

    /// <summary>Creates the block.</summary>
    /// <param name="clock">Drives the PM timer.</param>
    /// <param name="sci">System control interrupt, <see cref="ChipsetPorts.SciLine"/>.</param>
    /// <param name="events">Told of power-off and reset.</param>
    public Pm(VmClock clock, InterruptLine sci, IPowerEvents events)
    {
        _clock = clock;
        _sci = new InterruptOutput(sci);
        _events = events;
        _carry = clock.CreateTimer(OnCarry);
        Reset(ResetKind.Cold);
    }

    /// <inheritdoc/>
    public string Name => "pm";

    /// <summary>Presses the power button: the guest's operating system is asked to shut down.</summary>
    /// <returns>False when the guest has the button's interrupt off, so nobody will hear.</returns>
    public bool PressPowerButton()
    {
        bool heard;
        lock (_gate)
        {
            _status |= PowerButton;
            heard = (_enable & PowerButton) != 0;
            Update();
        }

        _sci.Publish();
        return heard;
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        switch (port)
        {
            case ChipsetPorts.ResetRegister:
                return _reset;
            case FastResetPort:
                return _fastReset;
            case >= TimerPort and < TimerPort + 4:
                return PmTimer.Count(_clock.Nanoseconds) >> ((port - TimerPort) * 8);
            default:
                lock (_gate)
                {
                    return port < Control
                        ? (uint)((ulong)(_status | ((uint)_enable << 16)) >> ((port - Status) * 8))
                        : (uint)((_control | ControlSciEnable) >> ((port - Control) * 8));
                }
        }
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        switch (port)
        {
            case ChipsetPorts.ResetRegister:
                WriteReset((byte)value);
                break;
            case FastResetPort:
                WriteFastReset((byte)value);
                break;
            case >= Status and < Status + 4:
                WriteEvent(port - Status, size, value);
                break;
            case Control or Control + 1:
                WriteControl(port - Control, size, value);
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_gate)
        {
            _running = true;
            Schedule();
        }
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        lock (_gate)
        {
            _running = false;
            _carry.Disarm();
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            _status = 0;
            _enable = 0;
            _control = 0;
            _reset = 0;
            _fastReset = FastA20;
            _carry.Disarm();
            Update();
        }

        _sci.Publish();
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            new PmSavedState { Status = _status, Enable = _enable, Control = _control, Reset = _reset, FastReset = _fastReset }.Write(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var state = PmSavedState.Read(reader);
        lock (_gate)
        {
            _status = (ushort)(state.Status & StatusBits);
            _enable = (ushort)(state.Enable & EnableBits);
            _control = (ushort)(state.Control & ControlWritable);
            _reset = (byte)(state.Reset & ResetWritable);
            _fastReset = state.FastReset;
            Update();
        }

        _sci.Publish();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Hex("status", _status).Hex("enable", _enable).Hex("control", _control).Value("sci", _sci.Level)
                .Value("timer", PmTimer.Count(_clock.Nanoseconds));
        }
    }

    private void WriteEvent(int offset, int size, uint value)
    {
        lock (_gate)
        {
            // Each byte of the access lands in the status half (written ones clear) or the enable half.
            for (var i = 0; i < size && offset + i < 4; i++)
            {
                var part = (byte)(value >> (i * 8));
                var at = offset + i;
                var shift = (at & 1) * 8;
                if (at < 2)
                {
                    _status = (ushort)(_status & ~(part << shift));
                }
                else
                {
                    _enable = (ushort)(((_enable & ~(0xFF << shift)) | (part << shift)) & EnableBits);
                }
            }

            Update();
            Schedule();
        }

        _sci.Publish();
    }

    private void WriteControl(int offset, int size, uint value)
    {
        bool sleeps;
        int type;
        lock (_gate)
        {
            var mask = (size == 1 ? 0xFFu : 0xFFFFu) << (offset * 8);
            var merged = (_control & ~mask) | ((value << (offset * 8)) & mask);
            _control = (ushort)(merged & ControlWritable);
            sleeps = (merged & ControlSleepEnable) != 0;
            type = (int)(merged >> ControlSleepTypeShift) & 7;
        }

        if (sleeps && type == ChipsetPorts.SleepTypeS5)
        {
            _events.RequestPowerOff();
        }
    }

    private void WriteReset(byte value)
    {
        // A reset happens when the CPU bit rises.
        bool resets;
        lock (_gate)
        {
            resets = (value & ResetCpu) != 0 && (_reset & ResetCpu) == 0;
            _reset = (byte)(value & ResetWritable & ~ResetCpu);
        }

        if (resets)
        {
            _events.RequestReset("port 0xcf9");
        }
    }

    private void WriteFastReset(byte value)
    {
        bool resets;
        lock (_gate)
        {
            resets = (value & FastReset) != 0 && (_fastReset & FastReset) == 0;
            // A20 is always open; the bit is kept for software that reads it back.
            _fastReset = (byte)(value & (FastA20 | FastReset));
        }

        if (resets)
        {
            _events.RequestReset("port 0x92");
        }
    }

    private void OnCarry()
    {
        lock (_gate)
        {
            if (!_running)
            {
                return;
            }

            _status |= TimerStatus;
            Update();
            Schedule();
        }

        _sci.Publish();
    }

    private void Schedule()
    {
        if (_running && (_enable & TimerStatus) != 0)
        {
            _carry.Arm(PmTimer.NextCarry(_clock.Nanoseconds));
        }
        else
        {
            _carry.Disarm();
        }
    }

    private void Update() => _sci.Level = (_status & _enable) != 0;
}
