using System.Buffers.Binary;
using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using static Vitro.Chipset.RtcSpec;

namespace Vitro.Chipset;

/// <summary>
/// The MC146818 real-time clock and CMOS memory at ports 0x70 and 0x71. It shows the host's UTC wall clock plus whatever
/// the guest has set it off by.
/// </summary>
/// <remarks>Thread-safe.</remarks>
public sealed class Rtc : IVirtualDevice, IPortIo
{
    private readonly VmClock _clock;
    private readonly InterruptOutput _output;
    private readonly VmTimer _secondTimer;
    private readonly VmTimer _periodicTimer;
    private readonly Lock _gate = new();
    private readonly byte[] _memory = new byte[MemorySize];
    private readonly ulong _memoryBytes;
    private byte _index;
    private byte _registerA;
    private byte _registerB;
    private byte _registerC;
    private TimeSpan _offset;
    private DateTime _frozen;
    private long _nextPeriod;
    private bool _running;

    /// <summary>Creates the clock at the host's time.</summary>
    /// <param name="clock">Gives wall-clock time and drives the interrupts.</param>
    /// <param name="line">ISA interrupt 8.</param>
    /// <param name="lowMemoryBytes">Guest memory below 4 GiB in bytes.</param>
    /// <param name="highMemoryBytes">Guest memory above 4 GiB in bytes.</param>
    public Rtc(VmClock clock, InterruptLine line, ulong lowMemoryBytes, ulong highMemoryBytes)
    {
        _clock = clock;
        _output = new InterruptOutput(line);
        _memoryBytes = lowMemoryBytes;
        _secondTimer = clock.CreateTimer(OnSecond);
        _periodicTimer = clock.CreateTimer(OnPeriod);
        DescribeMemory(lowMemoryBytes, highMemoryBytes);
        Reset(ResetKind.Cold);
    }

    /// <inheritdoc/>
    public string Name => "rtc";

    private bool IsFrozen => (_registerB & SetMode) != 0 || (_registerA & DividerMask) != DividerRuns;

    private DateTime Now => IsFrozen ? _frozen : Shown();

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        uint value;
        lock (_gate)
        {
            if (port == IndexPort)
            {
                return _index;
            }

            value = ReadRegister(_index & 0x7F);
        }

        _output.Publish();
        return value;
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        lock (_gate)
        {
            if (port == IndexPort)
            {
                // Bit 7 masks NMI on a PC; nothing here raises one through this gate.
                _index = (byte)value;
                return;
            }

            WriteRegister(_index & 0x7F, (byte)value);
        }

        _output.Publish();
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (_gate)
        {
            _running = true;
            ScheduleSecond();
            SchedulePeriod();
        }
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        lock (_gate)
        {
            _running = false;
            _secondTimer.Disarm();
            _periodicTimer.Disarm();
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            // The battery keeps time, date and memory; a reset clears the interrupt enables.
            _index = 0;
            _frozen = Shown();
            _registerA = DividerRuns | 6;
            _registerB = TwentyFourHours;
            _registerC = 0;
            _nextPeriod = 0;
            _output.Level = false;
            _secondTimer.Disarm();
            _periodicTimer.Disarm();
        }

        _output.Publish();
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            new RtcSavedState
            {
                Memory = [.. _memory],
                Index = _index,
                RegisterA = _registerA,
                RegisterB = _registerB,
                RegisterC = _registerC,
                OffsetTicks = (ulong)_offset.Ticks,
                FrozenTicks = (ulong)_frozen.Ticks,
                NextPeriod = (ulong)_nextPeriod,
            }.Write(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var state = RtcSavedState.Read(reader);
        lock (_gate)
        {
            state.Memory.CopyTo(_memory.AsSpan());
            _index = state.Index;
            _registerA = state.RegisterA;
            _registerB = state.RegisterB;
            _registerC = state.RegisterC;
            _offset = new TimeSpan((long)state.OffsetTicks);
            _frozen = new DateTime((long)state.FrozenTicks, DateTimeKind.Utc);
            _nextPeriod = (long)state.NextPeriod;
            UpdateOutput();
        }

        _output.Publish();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("time", Now.ToString("yyyy-MM-dd HH:mm:ss"))
                .Value("offsetSeconds", (long)_offset.TotalSeconds)
                .Hex("a", _registerA)
                .Hex("b", _registerB)
                .Hex("c", _registerC)
                .Value("irq", _output.Level)
                .Value("lowMemoryMiB", (long)(_memoryBytes >> 20));
        }
    }

    private DateTime Shown()
    {
        var ticks = _clock.WallClock.UtcTicks + _offset.Ticks;
        return new DateTime(Math.Clamp(ticks, 0, DateTime.MaxValue.Ticks), DateTimeKind.Utc);
    }

    private uint ReadRegister(int register)
    {
        switch (register)
        {
            case Seconds or Minutes or Hours or Weekday or Day or Month or Year or Century:
                return RtcCalendar.Read(register, Now, _registerB);
            case RegisterA:
                var isUpdating = !IsFrozen && NanosecondsToNextSecond() <= UpdateNotice;
                return (uint)(_registerA | (isUpdating ? UpdateInProgress : 0));
            case RegisterB:
                return _registerB;
            case RegisterC:
                var flags = _registerC;
                _registerC = 0;
                UpdateOutput();
                // An update that ends after this read is a new one.
                ScheduleSecond();
                return flags;
            case RegisterD:
                return ValidRam;
            default:
                return _memory[register];
        }
    }

    private void WriteRegister(int register, byte value)
    {
        switch (register)
        {
            case Seconds or Minutes or Hours or Weekday or Day or Month or Year or Century:
                SetTime(RtcCalendar.Write(register, value, Now, _registerB));
                break;
            case RegisterA:
                var wasFrozen = IsFrozen;
                var before = Now;
                _registerA = (byte)(value & 0x7F);
                Thaw(wasFrozen, before, restartSecond: true);
                _nextPeriod = 0;
                SchedulePeriod();
                break;
            case RegisterB:
                wasFrozen = IsFrozen;
                before = Now;
                _registerB = (byte)((value & SetMode) != 0 ? value & ~UpdateEnable : value);
                Thaw(wasFrozen, before, restartSecond: false);
                UpdateOutput();
                SchedulePeriod();
                break;
            case RegisterC or RegisterD:
                break;
            default:
                _memory[register] = value;
                break;
        }

        ScheduleSecond();
    }

    private void SetTime(DateTime time)
    {
        _offset += time - Now;
        _frozen = time;
    }

    private void Thaw(bool wasFrozen, DateTime before, bool restartSecond)
    {
        if (IsFrozen)
        {
            _frozen = before;
        }
        else if (wasFrozen)
        {
            // Releasing the divider begins a second half a second before its end (MC146818 data sheet, "Divider Control").
            var start = restartSecond ? new DateTime(before.Ticks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond, DateTimeKind.Utc)
                .AddMilliseconds(500) : before;
            _offset += start - Shown();
        }
    }

    private long NanosecondsToNextSecond() => (TimeSpan.TicksPerSecond - (Shown().Ticks % TimeSpan.TicksPerSecond)) * 100;

    private void ScheduleSecond()
    {
        // Nobody can see an update that raises no interrupt, except in flags that are polled: those are set lazily by the
        // timer, which therefore runs while alarms or updates may be watched.
        if (_running && !IsFrozen && (_registerC & UpdateFlag) == 0 || _running && !IsFrozen && (_registerB & (AlarmEnable | UpdateEnable)) != 0)
        {
            _secondTimer.Arm(_clock.Nanoseconds + NanosecondsToNextSecond());
        }
        else
        {
            _secondTimer.Disarm();
        }
    }

    private void SchedulePeriod()
    {
        var period = PeriodOf(_registerA & 15);
        if (!_running || period == 0 || IsFrozen || (_registerB & PeriodicEnable) == 0)
        {
            _periodicTimer.Disarm();
            return;
        }

        var now = _clock.Nanoseconds;
        if (_nextPeriod <= now)
        {
            // Ticks that were missed are one.
            _nextPeriod = ((now / period) + 1) * period;
        }

        _periodicTimer.Arm(_nextPeriod);
    }

    private void OnSecond()
    {
        lock (_gate)
        {
            if (!_running || IsFrozen)
            {
                return;
            }

            _registerC |= UpdateFlag;
            if (RtcCalendar.AlarmMatches(_memory, Shown(), _registerB))
            {
                _registerC |= AlarmFlag;
            }

            UpdateOutput();
            ScheduleSecond();
        }

        _output.Publish();
    }

    private void OnPeriod()
    {
        lock (_gate)
        {
            if (!_running || (_registerB & PeriodicEnable) == 0)
            {
                return;
            }

            _registerC |= PeriodicFlag;
            UpdateOutput();
            SchedulePeriod();
        }

        _output.Publish();
    }

    private void UpdateOutput()
    {
        var raised = (_registerC & _registerB & (PeriodicFlag | AlarmFlag | UpdateFlag)) != 0;
        _registerC = (byte)(raised ? _registerC | InterruptRequest : _registerC & ~InterruptRequest);
        _output.Level = raised;
    }

    private void DescribeMemory(ulong low, ulong high)
    {
        const ulong MiB = 1 << 20;
        BinaryPrimitives.WriteUInt16LittleEndian(_memory.AsSpan(0x15), 640);
        var above1 = (ushort)Math.Min(low > MiB ? (low - MiB) >> 10 : 0, 0xFC00);
        BinaryPrimitives.WriteUInt16LittleEndian(_memory.AsSpan(0x17), above1);
        BinaryPrimitives.WriteUInt16LittleEndian(_memory.AsSpan(0x30), above1);
        var above16 = (ushort)Math.Min(low > 16 * MiB ? (low - (16 * MiB)) >> 16 : 0, 0xFFFF);
        BinaryPrimitives.WriteUInt16LittleEndian(_memory.AsSpan(0x34), above16);
        var above4G = (uint)Math.Min(high >> 16, 0xFF_FFFF);
        _memory[0x5B] = (byte)above4G;
        _memory[0x5C] = (byte)(above4G >> 8);
        _memory[0x5D] = (byte)(above4G >> 16);
        // Equipment: a mathematics coprocessor, no display, no floppy disk.
        _memory[0x14] = 0x02;
    }
}
