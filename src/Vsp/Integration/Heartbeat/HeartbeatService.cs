using Vitro.Foundation;
using Vitro.VmBus;

namespace Vitro.Vsp.Integration.Heartbeat;

/// <summary>What the heartbeat says of the guest.</summary>
public enum HeartbeatState
{
    /// <summary>The guest has not answered yet, or has no driver for this.</summary>
    NoContact,

    /// <summary>The guest answers.</summary>
    Ok,

    /// <summary>The guest answered and has stopped doing so.</summary>
    LostCommunication,
}

/// <summary>The heartbeat service: asks the guest every two seconds of running time whether it lives.</summary>
public sealed class HeartbeatService : IntegrationService
{
    /// <summary>Beats without an answer after which communication counts as lost: ten seconds.</summary>
    public const int MissedBeatLimit = 5;

    private const long Period = 2_000_000_000;
    private readonly VmClock _clock;
    private readonly VmTimer _timer;
    private readonly Action<HeartbeatState>? _onStateChanged;
    private HeartbeatState _state;
    private bool _beatDue;
    private ulong _sequence;
    private int _missed;

    /// <summary>Creates the service.</summary>
    /// <param name="clock">The machine's clock.</param>
    /// <param name="onStateChanged">Called after each change on the channel's or clock's thread; must only hand on.</param>
    public HeartbeatService(VmClock clock, Action<HeartbeatState>? onStateChanged = null)
        : base("heartbeat", VmBusClass.Heartbeat, new Guid("fd149e91-82e0-4a7d-afa6-2a4166cbd7c0"), new(1, 0), new(3, 0))
    {
        _clock = clock;
        _onStateChanged = onStateChanged;
        _timer = clock.CreateTimer(OnBeatDue);
    }

    /// <summary>The guest's present state. Any thread.</summary>
    public HeartbeatState State
    {
        get
        {
            lock (Gate)
            {
                return _state;
            }
        }
    }

    private protected override void OnReady()
    {
        lock (Gate)
        {
            (_beatDue, _missed) = (true, 0);
        }
    }

    private protected override bool OnResponse(in IcHeader header, ReadOnlySpan<byte> body)
    {
        if (header.Type != IcMessageType.Heartbeat || !HeartbeatMessage.TryRead(body, out _))
        {
            return false;
        }

        // A late answer is a sign of life as good as a prompt one, so its sequence does not matter.
        lock (Gate)
        {
            _missed = 0;
        }

        SetState(HeartbeatState.Ok);
        return true;
    }

    private protected override void OnWork(IVmBusChannel channel)
    {
        ulong sequence;
        lock (Gate)
        {
            if (!_beatDue)
            {
                return;
            }

            _beatDue = false;
            sequence = _sequence;
            _sequence += 2;
        }

        Span<byte> body = stackalloc byte[HeartbeatMessage.Size];
        HeartbeatMessage.Write(body, sequence);

        // A full ring is a beat that gets no answer.
        TrySendRequest(channel, IcMessageType.Heartbeat, body);
    }

    private protected override void OnContactLost()
    {
        lock (Gate)
        {
            (_beatDue, _missed) = (false, 0);
        }

        SetState(HeartbeatState.NoContact);
    }

    private protected override void OnStarted() => _timer.Arm(_clock.Nanoseconds + Period);

    private protected override void OnStopped() => _timer.Disarm();

    private protected override void SaveService(SavedStateWriter writer)
    {
        lock (Gate)
        {
            writer.Byte(Tag.State, (byte)_state);
            writer.UInt64(Tag.Sequence, _sequence);
            writer.UInt32(Tag.Missed, (uint)_missed);
        }
    }

    private protected override void RestoreService(SavedStateReader reader)
    {
        var state = (HeartbeatState)reader.Byte(Tag.State);
        if (state > HeartbeatState.LostCommunication)
        {
            throw new SavedStateException($"Saved heartbeat has state {(int)state}.");
        }

        lock (Gate)
        {
            _state = state;
            _sequence = reader.UInt64(Tag.Sequence);
            _missed = (int)Math.Min(reader.UInt32(Tag.Missed), MissedBeatLimit);
        }
    }

    private protected override void InspectService(InspectNode node)
    {
        lock (Gate)
        {
            node.Value("state", _state.ToString()).Value("beats", (long)(_sequence / 2)).Value("missed", _missed);
        }
    }

    private void OnBeatDue()
    {
        bool lost;
        lock (Gate)
        {
            if (!IsRunning)
            {
                return;
            }

            // Counts every beat; an answer sets it back before it gets anywhere.
            _missed = _state == HeartbeatState.NoContact ? 0 : Math.Min(_missed + 1, MissedBeatLimit + 1);
            lost = _missed > MissedBeatLimit;
            _beatDue = true;
        }

        _timer.Arm(_clock.Nanoseconds + Period);
        if (lost)
        {
            SetState(HeartbeatState.LostCommunication);
        }

        Wake();
    }

    private void SetState(HeartbeatState state)
    {
        lock (Gate)
        {
            if (_state == state)
            {
                return;
            }

            _state = state;
        }

        _onStateChanged?.Invoke(state);
    }

    private static class Tag
    {
        internal const ushort State = 1;
        internal const ushort Sequence = 2;
        internal const ushort Missed = 3;
    }
}
