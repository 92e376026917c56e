namespace Vitro.Chipset;

/// <summary>How the local APIC timer counts (LVT timer bits 18:17).</summary>
internal enum ApicTimerMode
{
    OneShot = 0,
    Periodic = 1,
    TscDeadline = 2,
}

/// <summary>The count of a local APIC timer as a function of time; knows no clock and raises nothing.</summary>
internal sealed class ApicTimer
{
    /// <summary>Nanoseconds of one count at divide value 1.</summary>
    internal const long TickNanoseconds = 1_000_000_000 / LocalApic.TimerFrequency;

    /// <summary>
    /// A periodic timer expires at most this often, whatever its period: a guest cannot occupy the clock thread with it.
    /// </summary>
    internal const long ShortestRepeat = 20_000;

    private long _start;

    /// <summary>When it expires next; <see cref="long.MaxValue"/> when it does not.</summary>
    internal long NextExpiry { get; private set; } = long.MaxValue;

    internal ApicTimerMode Mode { get; private set; }

    internal uint InitialCount { get; private set; }

    /// <summary>The divide configuration register: bits 3, 1 and 0.</summary>
    internal uint DivideConfiguration { get; private set; }

    internal long Start => _start;

    /// <summary>1 to 128.</summary>
    internal int Divisor => DivisorOf(DivideConfiguration);

    private long Unit => TickNanoseconds * Divisor;

    internal void Reset()
    {
        Mode = ApicTimerMode.OneShot;
        InitialCount = 0;
        DivideConfiguration = 0;
        _start = 0;
        NextExpiry = long.MaxValue;
    }

    internal void Load(ApicTimerMode mode, uint initialCount, uint divideConfiguration, long start, long nextExpiry)
    {
        Mode = mode;
        InitialCount = initialCount;
        DivideConfiguration = divideConfiguration & 0xB;
        _start = start;
        NextExpiry = nextExpiry;
    }

    internal uint CurrentCount(long now)
    {
        if (InitialCount == 0 || Mode == ApicTimerMode.TscDeadline)
        {
            return 0;
        }

        var counted = Math.Max(0, now - _start) / Unit;
        if (Mode == ApicTimerMode.Periodic)
        {
            return InitialCount - (uint)(counted % InitialCount);
        }

        return counted >= InitialCount ? 0 : InitialCount - (uint)counted;
    }

    internal void WriteInitialCount(uint count, long now)
    {
        if (Mode == ApicTimerMode.TscDeadline)
        {
            return;
        }

        InitialCount = count;
        _start = now;
        NextExpiry = count == 0 ? long.MaxValue : now + (count * Unit);
    }

    internal void WriteDivideConfiguration(uint value, long now)
    {
        var left = CurrentCount(now);
        DivideConfiguration = value & 0xB;
        if (left == 0)
        {
            return;
        }

        // The count goes on from where it is, at the new rate.
        _start = now - ((InitialCount - left) * Unit);
        NextExpiry = now + (left * Unit);
    }

    internal void WriteMode(ApicTimerMode mode, long now)
    {
        if (mode == Mode)
        {
            return;
        }

        var left = CurrentCount(now);
        if (mode == ApicTimerMode.TscDeadline || Mode == ApicTimerMode.TscDeadline)
        {
            InitialCount = 0;
            NextExpiry = long.MaxValue;
            Mode = mode;
            return;
        }

        Mode = mode;
        if (left != 0)
        {
            _start = now - ((InitialCount - left) * Unit);
            NextExpiry = now + (left * Unit);
        }
    }

    /// <summary>Sets the expiry of TSC-deadline mode; <see cref="long.MaxValue"/> disarms.</summary>
    internal void WriteDeadline(long expiry)
    {
        if (Mode == ApicTimerMode.TscDeadline)
        {
            NextExpiry = expiry;
        }
    }

    /// <summary>Takes an expiry that is due; false when none is.</summary>
    internal bool TryExpire(long now)
    {
        if (now < NextExpiry)
        {
            return false;
        }

        if (Mode != ApicTimerMode.Periodic)
        {
            NextExpiry = long.MaxValue;
            return true;
        }

        // Periods that passed unseen are one interrupt, as they are in the one-bit request register.
        var period = InitialCount * Unit;
        NextExpiry += (((now - NextExpiry) / period) + 1) * period;
        if (NextExpiry - now < ShortestRepeat && period < ShortestRepeat)
        {
            NextExpiry += ((ShortestRepeat - (NextExpiry - now)) / period) * period;
        }

        return true;
    }

    internal static int DivisorOf(uint configuration) =>
        1 << (int)((((configuration & 3) | ((configuration & 8) >> 1)) + 1) & 7);
}
