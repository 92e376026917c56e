using Vitro.Foundation;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>One synthetic timer of a virtual processor (TLFS, "Synthetic Timers"): one-shot or periodic, by message or direct.</summary>
/// <remarks>Thread-safe: registers change on the processor's thread, expiry runs on the clock's or the processor's.</remarks>
internal sealed class SyntheticTimer : IInspectable
{
    // Half of what nanoseconds can tell, so that the difference between two clocks does not overflow.
    private const ulong MaxReferenceTime = long.MaxValue / 200;

    // A guest may ask for any period; a host thread that serves it must not drown. 200 us.
    private const ulong ShortestPeriod = 2000;

    private readonly SynicProcessor _synic;
    private readonly ISynicInterruptSink _sink;
    private readonly VmClock _clock;
    private readonly VmTimer _wakeUp;
    private readonly int _vpIndex;
    private readonly int _index;
    private readonly bool _directOffered;
    private readonly Lock _gate = new();
    private TimerConfig _config;
    private ulong _count;
    private ulong _expiration;
    private bool _running;
    private long _expired;

    internal SyntheticTimer(SynicProcessor synic, ISynicInterruptSink sink, VmClock clock, int vpIndex, int index, bool directOffered)
    {
        _synic = synic;
        _sink = sink;
        _clock = clock;
        _vpIndex = vpIndex;
        _index = index;
        _directOffered = directOffered;
        _wakeUp = clock.CreateTimer(ExpireIfDue);
    }

    internal ulong Config
    {
        get
        {
            lock (_gate)
            {
                return _config.Raw;
            }
        }
    }

    internal ulong Count
    {
        get
        {
            lock (_gate)
            {
                return _count;
            }
        }
    }

    /// <summary>Writes the configuration; false when it asks for direct mode that is not offered.</summary>
    internal bool TryWriteConfig(ulong value)
    {
        var config = new TimerConfig(value & TimerConfig.DefinedBits);
        if (config.IsDirect && !_directOffered)
        {
            return false;
        }

        if (!config.HasTarget)
        {
            config = config.WithEnabled(false);
        }

        lock (_gate)
        {
            _config = config;
            Schedule(restart: true);
        }

        ExpireIfDue();
        return true;
    }

    /// <summary>Whether the timer is one of those that send messages, now or once its count is written.</summary>
    internal bool WantsMessages
    {
        get
        {
            lock (_gate)
            {
                return _config is { IsDirect: false, HasTarget: true } && (_config.IsEnabled || _config.AutoEnable);
            }
        }
    }

    /// <summary>What an engine is to be given of a configuration; false when the timer would send messages, or direct mode is not offered.</summary>
    internal bool TryGetDirect(ulong value, out ulong config)
    {
        var wanted = new TimerConfig(value & TimerConfig.DefinedBits);
        config = wanted.HasTarget && wanted.IsDirect ? wanted.Raw : wanted.WithoutEnabling().Raw;
        return wanted.IsDirect ? _directOffered : !wanted.HasTarget || !(wanted.IsEnabled || wanted.AutoEnable);
    }

    /// <summary>Takes registers from an engine; while the timer is stopped.</summary>
    internal void Take(ulong config, ulong count, ulong now)
    {
        var taken = new TimerConfig(config & TimerConfig.DefinedBits);
        Set(config, count, taken.IsPeriodic ? now + Math.Clamp(count, ShortestPeriod, MaxReferenceTime / 2) : count);
    }

    internal void WriteCount(ulong value)
    {
        lock (_gate)
        {
            _count = value;
            if (value == 0)
            {
                _config = _config.WithEnabled(false);
            }
            else if (_config.AutoEnable)
            {
                _config = _config.WithEnabled(true);
            }

            Schedule(restart: true);
        }

        ExpireIfDue();
    }

    internal void Start()
    {
        lock (_gate)
        {
            _running = true;
            Schedule(restart: false);
        }

        ExpireIfDue();
    }

    internal void Stop()
    {
        lock (_gate)
        {
            _running = false;
            _wakeUp.Disarm();
        }
    }

    internal void Reset() => Set(0, 0, 0);

    internal void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            writer.UInt64(Tag.Config, _config.Raw);
            writer.UInt64(Tag.Count, _count);
            writer.UInt64(Tag.Expiration, _expiration);
        }
    }

    internal void Restore(SavedStateReader reader) =>
        Set(reader.UInt64(Tag.Config), reader.UInt64(Tag.Count), reader.UInt64(Tag.Expiration));

    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Hex("config", _config.Raw).Value("count", (long)_count).Value("expiration", (long)_expiration).Value("expired", _expired);
        }
    }

    private void Set(ulong config, ulong count, ulong expiration)
    {
        lock (_gate)
        {
            _wakeUp.Disarm();
            _config = new TimerConfig(config & TimerConfig.DefinedBits);
            _count = count;
            _expiration = expiration;
        }
    }

    // A restart forgets the expiration and message of the former setting; otherwise the timer goes on where it stood.
    private void Schedule(bool restart)
    {
        if (restart)
        {
            _synic.CancelTimerMessage(_index);
            _expiration = _config.IsPeriodic ? _clock.ReferenceTime + Period : _count;
        }

        if (!IsActive || _expiration > MaxReferenceTime)
        {
            _wakeUp.Disarm();
        }
        else if (_expiration > _clock.ReferenceTime)
        {
            _wakeUp.Arm(_clock.AtReference(_expiration));
        }
    }

    private bool IsActive => _running && _config.IsEnabled && _count != 0;

    private ulong Period => Math.Clamp(_count, ShortestPeriod, MaxReferenceTime / 2);

    private void ExpireIfDue()
    {
        TimerConfig config;
        ulong expiration;
        lock (_gate)
        {
            var now = _clock.ReferenceTime;
            if (!IsActive || now < _expiration)
            {
                return;
            }

            config = _config;
            expiration = _expiration;
            _expired++;
            if (config.IsPeriodic)
            {
                // Ticks that were missed are not made up for: the next one is the first that lies ahead.
                _expiration += ((now - _expiration) / Period * Period) + Period;
                _wakeUp.Arm(_clock.AtReference(_expiration));
            }
            else
            {
                _config = config.WithEnabled(false);
            }
        }

        if (config.IsDirect)
        {
            _sink.Raise(_vpIndex, config.Vector, autoEoi: false);
        }
        else if (!_synic.IsTimerMessageWaiting(_index))
        {
            _synic.PostTimerMessage(_index, config.Sint, expiration);
        }
    }

    private static class Tag
    {
        internal const ushort Config = 1;
        internal const ushort Count = 2;
        internal const ushort Expiration = 3;
    }

    /// <summary>Value of a timer's configuration register.</summary>
    private readonly record struct TimerConfig(ulong Raw)
    {
        internal const ulong DefinedBits = 0xF_1FFF;
        private const ulong Enable = 1;

        internal bool IsEnabled => (Raw & Enable) != 0;

        internal bool IsPeriodic => (Raw & 2) != 0;

        internal bool AutoEnable => (Raw & 8) != 0;

        internal byte Vector => (byte)(Raw >> 4);

        internal bool IsDirect => (Raw & 0x1000) != 0;

        internal int Sint => (int)(Raw >> 16) & 15;

        /// <summary>SINT 0 cannot be a timer's, and exception vectors cannot be interrupts: such a timer stays off.</summary>
        internal bool HasTarget => IsDirect ? Vector >= SintValue.FirstVector : Sint != 0;

        internal TimerConfig WithoutEnabling() => new(Raw & ~(Enable | 8));

        internal TimerConfig WithEnabled(bool enabled) => new((Raw & ~Enable) | (enabled ? Enable : 0));
    }
}
