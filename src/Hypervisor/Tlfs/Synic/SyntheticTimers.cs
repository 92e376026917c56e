using Vitro.Foundation;
using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>
/// The synthetic timers of all virtual processors (TLFS, "Synthetic Timers"), and where they run: in the engine, if it keeps timers and the guest wants
/// them in direct mode only, else here.
/// </summary>
/// <remarks>
/// Registers are reached on their processor's thread. The first timer that a guest wants messages of brings them all here: those of the other
/// processors follow when these next reach for them, since an engine tells a processor's registers on its own thread only, and run on in the engine until then.
/// </remarks>
internal sealed class SyntheticTimers
{
    private readonly SyntheticTimer[][] _timers;
    private readonly VmClock _clock;

    // By processor, on its thread or while none runs.
    private readonly bool[] _isInEngine;
    private IEngineTimers? _engine;

    internal SyntheticTimers(SynicProcessor[] synics, VmClock clock, HypervisorInterfaceOptions options)
    {
        _clock = clock;
        _isInEngine = new bool[synics.Length];
        _timers = new SyntheticTimer[synics.Length][];
        for (var vp = 0; vp < synics.Length; vp++)
        {
            _timers[vp] = new SyntheticTimer[SynicProcessor.TimerCount];
            for (var i = 0; i < SynicProcessor.TimerCount; i++)
            {
                _timers[vp][i] = new SyntheticTimer(synics[vp], options.Interrupts, clock, vp, i, options.Features.DirectTimers);
            }
        }
    }

    internal void Attach(IPartition partition) => _engine = partition.Timers;

    internal ulong Read(int vp, uint msr)
    {
        var index = IndexOf(msr);
        if (_isInEngine[vp])
        {
            var (config, count) = _engine!.ReadTimer(vp, index);
            return IsCount(msr) ? count : config;
        }

        return IsCount(msr) ? _timers[vp][index].Count : _timers[vp][index].Config;
    }

    /// <summary>Writes a register; false when it asks for direct mode that is not offered.</summary>
    internal bool TryWrite(int vp, uint msr, ulong value)
    {
        var timer = _timers[vp][IndexOf(msr)];
        if (_isInEngine[vp])
        {
            if (!IsCount(msr) && timer.TryGetDirect(value, out var direct))
            {
                _engine!.WriteTimerConfig(vp, IndexOf(msr), direct);
                return true;
            }

            // Here for good, until the machine next stands still: this one's message, or the count of one whose fellow wanted messages.
            _engine!.HoldTimers(false);
            TakeFromEngine(vp);
            foreach (var own in _timers[vp])
            {
                own.Start();
            }
        }

        if (!IsCount(msr))
        {
            return timer.TryWriteConfig(value);
        }

        timer.WriteCount(value);
        return true;
    }

    internal void Start()
    {
        var held = _engine is not null && !_timers.Any(static timers => timers.Any(static timer => timer.WantsMessages));
        _engine?.HoldTimers(held);
        for (var vp = 0; vp < _timers.Length; vp++)
        {
            _isInEngine[vp] = held;
            for (var i = 0; i < _timers[vp].Length; i++)
            {
                if (held)
                {
                    _engine!.WriteTimer(vp, i, _timers[vp][i].Config, _timers[vp][i].Count);
                }
                else
                {
                    _timers[vp][i].Start();
                }
            }
        }
    }

    internal void Stop()
    {
        for (var vp = 0; vp < _timers.Length; vp++)
        {
            if (_isInEngine[vp])
            {
                TakeFromEngine(vp);
            }

            foreach (var timer in _timers[vp])
            {
                timer.Stop();
            }
        }
    }

    internal void Reset()
    {
        foreach (var timer in _timers.SelectMany(static timers => timers))
        {
            timer.Reset();
        }
    }

    internal void Save(int vp, Action<Action<SavedStateWriter>> add)
    {
        foreach (var timer in _timers[vp])
        {
            add(timer.Save);
        }
    }

    internal void Restore(int vp, IEnumerable<SavedStateReader> saved)
    {
        foreach (var (index, timer) in saved.Take(SynicProcessor.TimerCount).Index())
        {
            _timers[vp][index].Restore(timer);
        }
    }

    internal void Inspect(int vp, InspectNode processor)
    {
        // What the engine has of them only the processor's own thread may ask.
        processor.Value("timersInEngine", Volatile.Read(ref _isInEngine[vp]));
        for (var i = 0; i < SynicProcessor.TimerCount; i++)
        {
            processor.Child("timer" + i, _timers[vp][i]);
        }
    }

    private static int IndexOf(uint msr) => (int)(msr - SyntheticMsr.Stimer0Config) / 2;

    private static bool IsCount(uint msr) => (msr & 1) != 0;

    // A periodic timer's next tick is not told by an engine: it begins its period anew.
    private void TakeFromEngine(int vp)
    {
        _isInEngine[vp] = false;
        for (var i = 0; i < _timers[vp].Length; i++)
        {
            var (config, count) = _engine!.ReadTimer(vp, i);
            _engine.WriteTimer(vp, i, 0, 0);
            _timers[vp][i].Take(config, count, _clock.ReferenceTime);
        }
    }
}
