using Vitro.Foundation;
using Vitro.VmBus;

namespace Vitro.Vsp.Integration.TimeSync;

/// <summary>
/// The time service: sets the guest's clock once when it connects and whenever the machine has stood still, and gives it
/// a sample every five seconds of running time (in Linux: the PTP device <c>/dev/ptp_hyperv</c>).
/// </summary>
public sealed class TimeSyncService : IntegrationService
{
    private const long Period = 5_000_000_000;
    private readonly VmClock _clock;
    private readonly VmTimer _timer;
    private TimeSyncFlags _due;
    private long _syncs;
    private long _samples;

    /// <summary>Creates the service.</summary>
    public TimeSyncService(VmClock clock)
        : base("timesync", VmBusClass.TimeSync, new Guid("2dd1ce17-079e-403c-b352-a1921ee207ee"), new(1, 0), new(3, 0), new(4, 0))
    {
        _clock = clock;
        _timer = clock.CreateTimer(OnSampleDue);
    }

    /// <summary>Makes the guest set its clock now. Any thread; nothing happens without contact.</summary>
    public void Synchronize()
    {
        lock (Gate)
        {
            _due |= TimeSyncFlags.Sync;
        }

        Wake();
    }

    private protected override void OnReady()
    {
        lock (Gate)
        {
            _due = TimeSyncFlags.Sync;
        }
    }

    // The guest acknowledges each message; there is nothing to learn from it.
    private protected override bool OnResponse(in IcHeader header, ReadOnlySpan<byte> body) => header.Type == IcMessageType.TimeSync;

    private protected override void OnWork(IVmBusChannel channel)
    {
        TimeSyncFlags due;
        lock (Gate)
        {
            (due, _due) = (_due, 0);
        }

        // Setting the clock says all that a sample would.
        due = (due & TimeSyncFlags.Sync) != 0 ? TimeSyncFlags.Sync : due;
        if (due == 0)
        {
            return;
        }

        if (Send(channel, due))
        {
            Interlocked.Increment(ref due == TimeSyncFlags.Sync ? ref _syncs : ref _samples);
        }
        else if (due == TimeSyncFlags.Sync)
        {
            // No room: the clock is set with the next sample. Samples themselves grow stale and are dropped.
            lock (Gate)
            {
                _due |= due;
            }
        }
    }

    private protected override void OnContactLost()
    {
        lock (Gate)
        {
            _due = 0;
        }
    }

    // The guest's clock stood still for as long as the machine did.
    private protected override void OnStarted()
    {
        lock (Gate)
        {
            _due |= TimeSyncFlags.Sync;
        }

        _timer.Arm(_clock.Nanoseconds + Period);
    }

    private protected override void OnStopped() => _timer.Disarm();

    private protected override void InspectService(InspectNode node) =>
        node.Value("syncs", Interlocked.Read(ref _syncs)).Value("samples", Interlocked.Read(ref _samples));

    private bool Send(IVmBusChannel channel, TimeSyncFlags flags)
    {
        Span<byte> body = stackalloc byte[TimeSyncMessage.Size1];
        if (Version.Major >= 4)
        {
            TimeSyncMessage.Write4(body, _clock.WallClock, _clock.ReferenceTime, flags);
            body = body[..TimeSyncMessage.Size4];
        }
        else
        {
            TimeSyncMessage.Write1(body, _clock.WallClock, flags);
        }

        return TrySendRequest(channel, IcMessageType.TimeSync, body);
    }

    private void OnSampleDue()
    {
        lock (Gate)
        {
            if (!IsRunning)
            {
                return;
            }

            _due |= TimeSyncFlags.Sample;
        }

        _timer.Arm(_clock.Nanoseconds + Period);
        Wake();
    }
}
