namespace Vitro.Chipset;

/// <summary>One counter of an 8254 as a function of time in ticks of its input clock; all six modes, binary and BCD.</summary>
internal sealed class PitCounter
{
    private enum Access
    {
        Latch = 0,
        Low = 1,
        High = 2,
        LowHigh = 3,
    }

    private Access _access;
    private byte _writeLow;
    private bool _writeHighNext;
    private bool _readHighNext;
    private int _latched;
    private int _latchedBytes;
    private int _latchedStatus = -1;
    private bool _loaded;
    private bool _triggered;
    private bool _counts;
    private long _start;
    private long _pausedElapsed;

    internal int Mode { get; private set; }

    internal bool IsBcd { get; private set; }

    internal bool Gate { get; private set; } = true;

    /// <summary>The count register as written, 0 standing for the largest count.</summary>
    internal int Reload { get; private set; }

    private int Maximum => IsBcd ? 10_000 : 0x1_0000;

    private int Period => Reload == 0 ? Maximum : Reload;

    /// <summary>Counting is suspended by a low gate (modes 0, 2, 3, 4).</summary>
    private bool IsPaused => _counts && !Gate && Mode is 0 or 2 or 3 or 4;

    internal void Reset(bool gate)
    {
        Mode = 0;
        IsBcd = false;
        Reload = 0;
        Gate = gate;
        _access = Access.LowHigh;
        _writeHighNext = false;
        _readHighNext = false;
        _latchedBytes = 0;
        _latchedStatus = -1;
        _loaded = false;
        _triggered = false;
        _counts = false;
    }

    internal void WriteControl(byte value, long now)
    {
        var access = (Access)((value >> 4) & 3);
        if (access == Access.Latch)
        {
            LatchCount(now);
            return;
        }

        _access = access;
        Mode = (value >> 1) & 7;
        if (Mode > 5)
        {
            Mode -= 4;
        }

        IsBcd = (value & 1) != 0;
        _writeHighNext = false;
        _readHighNext = false;
        _latchedBytes = 0;
        _latchedStatus = -1;
        _loaded = false;
        _triggered = false;
        _counts = false;
    }

    internal void LatchCount(long now)
    {
        // A second latch before the first is read is ignored.
        if (_latchedBytes == 0)
        {
            _latched = Read16(now);
            _latchedBytes = _access == Access.LowHigh ? 2 : 1;
        }
    }

    internal void LatchStatus(long now)
    {
        if (_latchedStatus < 0)
        {
            _latchedStatus = (Output(now) ? 0x80 : 0) | (_loaded ? 0 : 0x40) | ((int)_access << 4) | (Mode << 1) | (IsBcd ? 1 : 0);
        }
    }

    internal byte Read(long now)
    {
        if (_latchedStatus >= 0)
        {
            var status = (byte)_latchedStatus;
            _latchedStatus = -1;
            return status;
        }

        if (_latchedBytes > 0)
        {
            var high = _access == Access.High || (_access == Access.LowHigh && _latchedBytes == 1);
            _latchedBytes--;
            return (byte)(high ? _latched >> 8 : _latched);
        }

        var value = Read16(now);
        switch (_access)
        {
            case Access.Low:
                return (byte)value;
            case Access.High:
                return (byte)(value >> 8);
            default:
                var part = _readHighNext ? value >> 8 : value;
                _readHighNext = !_readHighNext;
                return (byte)part;
        }
    }

    internal void Write(byte value, long now)
    {
        switch (_access)
        {
            case Access.Low:
                Load(value, now);
                break;
            case Access.High:
                Load(value << 8, now);
                break;
            default:
                if (!_writeHighNext)
                {
                    _writeLow = value;
                    _writeHighNext = true;
                    if (Mode == 0)
                    {
                        // The first byte stops a count in mode 0.
                        _counts = false;
                    }
                }
                else
                {
                    _writeHighNext = false;
                    Load(_writeLow | (value << 8), now);
                }

                break;
        }
    }

    internal void SetGate(bool gate, long now)
    {
        if (gate == Gate)
        {
            return;
        }

        if (!gate)
        {
            if (_counts)
            {
                _pausedElapsed = now - _start;
            }

            Gate = false;
            return;
        }

        Gate = true;
        switch (Mode)
        {
            case 1 or 5:
                if (_loaded)
                {
                    _triggered = true;
                    _counts = true;
                    _start = now;
                }

                break;
            case 2 or 3:
                // A rising gate reloads the count.
                _start = now;
                break;
            default:
                if (_counts)
                {
                    _start = now - _pausedElapsed;
                }

                break;
        }
    }

    /// <summary>The OUT pin.</summary>
    internal bool Output(long now)
    {
        if (!_counts)
        {
            return Mode != 0;
        }

        var elapsed = Elapsed(now);
        return Mode switch
        {
            0 => elapsed >= Period,
            1 => elapsed >= Period,
            2 => !Gate || Period == 1 || elapsed % Period != Period - 1,
            3 => !Gate || elapsed % Period < (Period + 1) / 2,
            _ => elapsed != Period,
        };
    }

    /// <summary>The tick at which OUT next rises, after <paramref name="now"/>; null when it does not without being programmed.</summary>
    internal long? NextRise(long now)
    {
        if (!_counts || IsPaused)
        {
            return null;
        }

        var elapsed = now - _start;
        switch (Mode)
        {
            case 2 or 3:
                return _start + (((elapsed / Period) + 1) * Period);
            case 0 or 1:
                return elapsed < Period ? _start + Period : null;
            default:
                return elapsed <= Period ? _start + Period + 1 : null;
        }
    }

    /// <summary>The counting element.</summary>
    internal int Count(long now)
    {
        if (!_counts)
        {
            return Reload;
        }

        var elapsed = Elapsed(now);
        return Mode switch
        {
            2 => Period - (int)(elapsed % Period),
            3 => SquareCount(elapsed),
            // These run on through zero and wrap.
            _ => (int)(((Period - (elapsed % Maximum)) + Maximum) % Maximum),
        };
    }

    internal PitCounterSavedState Save() => new()
    {
        Mode = (byte)Mode,
        IsBcd = IsBcd,
        Gate = Gate,
        Reload = (uint)Reload,
        Access = (byte)_access,
        WriteLow = _writeLow,
        WriteHighNext = _writeHighNext,
        ReadHighNext = _readHighNext,
        Latched = (uint)_latched,
        LatchedBytes = (byte)_latchedBytes,
        HasLatchedStatus = _latchedStatus >= 0,
        LatchedStatus = (byte)_latchedStatus,
        Loaded = _loaded,
        Triggered = _triggered,
        Counts = _counts,
        Start = (ulong)_start,
        PausedElapsed = (ulong)_pausedElapsed,
    };

    internal void Load(PitCounterSavedState state)
    {
        Mode = state.Mode;
        IsBcd = state.IsBcd;
        Gate = state.Gate;
        Reload = (int)state.Reload;
        _access = (Access)state.Access;
        _writeLow = state.WriteLow;
        _writeHighNext = state.WriteHighNext;
        _readHighNext = state.ReadHighNext;
        _latched = (int)state.Latched;
        _latchedBytes = state.LatchedBytes;
        _latchedStatus = state.HasLatchedStatus ? state.LatchedStatus : -1;
        _loaded = state.Loaded;
        _triggered = state.Triggered;
        _counts = state.Counts;
        _start = (long)state.Start;
        _pausedElapsed = (long)state.PausedElapsed;
    }

    private int SquareCount(long elapsed)
    {
        // Counts down by two; an odd count spends the extra tick in the high half.
        var position = (int)(elapsed % Period);
        var highHalf = (Period + 1) / 2;
        var even = Period & ~1;
        return position < highHalf ? even - (2 * position) + (Period == 1 ? 1 : 0) : even - (2 * (position - highHalf));
    }

    private long Elapsed(long now) => Math.Max(0, IsPaused ? _pausedElapsed : now - _start);

    private int Read16(long now)
    {
        var count = Count(now) % Maximum;
        if (!IsBcd)
        {
            return count & 0xFFFF;
        }

        return (count / 1000 % 10 << 12) | (count / 100 % 10 << 8) | (count / 10 % 10 << 4) | (count % 10);
    }

    private void Load(int raw, long now)
    {
        var value = raw;
        if (IsBcd)
        {
            value = ((raw >> 12) * 1000) + ((raw >> 8 & 15) * 100) + ((raw >> 4 & 15) * 10) + (raw & 15);
            value %= Maximum;
        }

        var isReload = _counts && Mode is 2 or 3;
        if (isReload && !IsPaused)
        {
            // A new count in modes 2 and 3 takes over at once; hardware waits for the end of the period, which software
            // that reprograms a running timer does not rely on.
            _start = now;
        }

        Reload = value;
        _loaded = true;
        switch (Mode)
        {
            case 1 or 5:
                // These wait for a rising gate.
                if (!_triggered)
                {
                    _counts = false;
                }

                break;
            default:
                _counts = true;
                _start = now;
                _pausedElapsed = 0;
                break;
        }
    }
}
