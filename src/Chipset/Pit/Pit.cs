using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using static Vitro.Chipset.PitSpec;

namespace Vitro.Chipset;

/// <summary>
/// The 8254 interval timer at ports 0x40 to 0x43 with the system control port 0x61. Counter 0 drives ISA interrupt 0,
/// counter 2 is gated by port 0x61 and read back there. Counts are exact functions of the machine's clock.
/// </summary>
/// <remarks>Thread-safe.</remarks>
public sealed class Pit : IVirtualDevice, IPortIo
{
    /// <summary>Interrupts of counter 0 come at least this many nanoseconds apart, whatever its period.</summary>
    public const long ShortestRepeat = 50_000;

    private readonly VmClock _clock;
    private readonly InterruptLine _line;
    private readonly VmTimer _wakeUp;
    private readonly Lock _gate = new();
    private readonly PitCounter[] _counters = [new(), new(), new()];
    private byte _systemControl;
    private long _dueTick;
    private bool _running;
    private long _interrupts;

    /// <summary>Creates the timer, not counting.</summary>
    /// <param name="clock">Drives it.</param>
    /// <param name="line">ISA interrupt 0.</param>
    public Pit(VmClock clock, InterruptLine line)
    {
        _clock = clock;
        _line = line;
        _wakeUp = clock.CreateTimer(OnDue);
        Reset(ResetKind.Cold);
    }

    /// <inheritdoc/>
    public string Name => "pit";

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        lock (_gate)
        {
            var nanoseconds = _clock.Nanoseconds;
            var now = ToTicks(nanoseconds);
            if (port == SystemControl)
            {
                var refresh = (nanoseconds / RefreshHalfPeriod & 1) != 0;
                return (uint)(_systemControl | (refresh ? RefreshToggle : 0) | (_counters[2].Output(now) ? Output2 : 0));
            }

            return port is >= Counter0 and < Control ? _counters[port - Counter0].Read(now) : 0xFFu;
        }
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        bool? output;
        lock (_gate)
        {
            var now = ToTicks(_clock.Nanoseconds);
            if (port == SystemControl)
            {
                _systemControl = (byte)(value & SystemControlWritable);
                _counters[2].SetGate((value & Gate2) != 0, now);
                return;
            }

            if (port == Control)
            {
                WriteControl((byte)value, now);
            }
            else
            {
                _counters[port - Counter0].Write((byte)value, now);
            }

            // The present level becomes the wire's: mode 0 holds it low until its count ends.
            output = _counters[0].Output(now);
            Schedule(now);
        }

        if (output is { } level)
        {
            _line.Set(level);
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_gate)
        {
            _running = true;
            Schedule(ToTicks(_clock.Nanoseconds));
        }
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        lock (_gate)
        {
            _running = false;
            _wakeUp.Disarm();
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            _systemControl = 0;
            _counters[0].Reset(gate: true);
            _counters[1].Reset(gate: true);
            _counters[2].Reset(gate: false);
            _wakeUp.Disarm();
        }

        _line.Set(false);
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            writer.Byte(1, _systemControl);
            foreach (var counter in _counters)
            {
                writer.Group(2, counter.Save().Write);
            }
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var states = reader.Groups(2).Select(PitCounterSavedState.Read).ToArray();
        if (states.Length != _counters.Length)
        {
            throw new SavedStateException($"An 8254 has 3 counters; {states.Length} were saved.");
        }

        bool output;
        lock (_gate)
        {
            _systemControl = (byte)(reader.Byte(1) & SystemControlWritable);
            for (var i = 0; i < states.Length; i++)
            {
                _counters[i].Load(states[i]);
            }

            output = _counters[0].Output(ToTicks(_clock.Nanoseconds));
        }

        _line.Set(output);
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            var now = ToTicks(_clock.Nanoseconds);
            node.Hex("control61", _systemControl).Value("interrupts", _interrupts);
            for (var i = 0; i < _counters.Length; i++)
            {
                var counter = _counters[i];
                node.Child($"counter{i}")
                    .Value("mode", counter.Mode)
                    .Value("reload", counter.Reload)
                    .Value("count", counter.Count(now))
                    .Value("output", counter.Output(now))
                    .Value("gate", counter.Gate);
            }
        }
    }

    private void WriteControl(byte value, long now)
    {
        var select = value >> 6;
        if (select != ReadBack)
        {
            _counters[select].WriteControl(value, now);
            return;
        }

        for (var i = 0; i < _counters.Length; i++)
        {
            if ((value & (2 << i)) == 0)
            {
                continue;
            }

            if ((value & ReadBackNoCount) == 0)
            {
                _counters[i].LatchCount(now);
            }

            if ((value & ReadBackNoStatus) == 0)
            {
                _counters[i].LatchStatus(now);
            }
        }
    }

    private void OnDue()
    {
        lock (_gate)
        {
            var now = ToTicks(_clock.Nanoseconds);
            if (!_running || now < _dueTick || _dueTick == 0)
            {
                return;
            }

            _interrupts++;
            Schedule(now);
        }

        // OUT was low for a moment (modes 2 to 5) or all along (modes 0 and 1), and has risen.
        _line.Set(false);
        _line.Set(true);
    }

    private void Schedule(long now)
    {
        if (!_running || _counters[0].NextRise(now) is not { } tick)
        {
            _dueTick = 0;
            _wakeUp.Disarm();
            return;
        }

        // Rises that are closer together than the clock thread should be bothered with are merged.
        _dueTick = tick;
        var shortest = ToTicks(ShortestRepeat);
        if (_counters[0].Mode is 2 or 3 && tick - now < shortest && _counters[0].NextRise(tick) is { } following && following - tick < shortest)
        {
            _dueTick = now + shortest;
        }

        _wakeUp.Arm(ToNanoseconds(_dueTick));
    }
}
