using Vitro.Foundation;
using Vitro.VmBus;

namespace Vitro.Vsp.Integration.Shutdown;

/// <summary>What a guest is asked to do.</summary>
public enum ShutdownKind
{
    /// <summary>Turn itself off.</summary>
    PowerOff = 0,

    /// <summary>Restart.</summary>
    Restart = 1,

    /// <summary>Save itself to its disk and turn off.</summary>
    Hibernate = 2,
}

/// <summary>What a guest said to a shutdown request.</summary>
public enum ShutdownOutcome
{
    /// <summary>The guest has begun; it ends by turning itself off.</summary>
    Accepted,

    /// <summary>The guest cannot or will not.</summary>
    Refused,

    /// <summary>The guest has no driver for this, or did not answer in time.</summary>
    NoContact,
}

/// <summary>The shutdown service: asks the guest to turn off, restart or hibernate in good order.</summary>
public sealed class ShutdownService : IntegrationService
{
    private readonly VmClock _clock;
    private readonly VmTimer _timer;
    private TaskCompletionSource<ShutdownOutcome>? _pending;
    private byte[]? _unsent;

    /// <summary>Creates the service.</summary>
    public ShutdownService(VmClock clock)
        : base(
            "shutdown", VmBusClass.Shutdown, new Guid("b6650ff7-33bc-4840-8048-e0676786f393"), new(1, 0), new(3, 0), new(3, 1), new(3, 2))
    {
        _clock = clock;
        _timer = clock.CreateTimer(() => Complete(ShutdownOutcome.NoContact));
    }

    /// <summary>Asks the guest. Any thread. While a request waits for its answer, further ones share that answer.</summary>
    /// <param name="kind">What is wanted.</param>
    /// <param name="force">Applications of the guest that object are ended.</param>
    /// <param name="message">Shown to the guest's users, up to 1,023 characters.</param>
    /// <param name="timeout">Running time of the machine after which the outcome is <see cref="ShutdownOutcome.NoContact"/>.</param>
    public Task<ShutdownOutcome> RequestAsync(ShutdownKind kind, bool force, string message, TimeSpan timeout)
    {
        var body = new byte[ShutdownMessage.Size];
        ShutdownMessage.Write(body, kind, force, timeoutSeconds: (uint)Math.Clamp(timeout.TotalSeconds, 0, int.MaxValue), message);
        Task<ShutdownOutcome> answer;
        if (Contact != IcContact.Ready)
        {
            return Task.FromResult(ShutdownOutcome.NoContact);
        }

        lock (Gate)
        {
            if (_pending is not null)
            {
                return _pending.Task;
            }

            _pending = new TaskCompletionSource<ShutdownOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
            _unsent = body;
            answer = _pending.Task;
        }

        _timer.Arm(_clock.Nanoseconds + (timeout.Ticks * TimeSpan.NanosecondsPerTick));
        Wake();
        return answer;
    }

    private protected override bool OnResponse(in IcHeader header, ReadOnlySpan<byte> body)
    {
        if (header.Type != IcMessageType.Shutdown)
        {
            return false;
        }

        Complete(header.Status == 0 ? ShutdownOutcome.Accepted : ShutdownOutcome.Refused);
        return true;
    }

    private protected override void OnWork(IVmBusChannel channel)
    {
        byte[]? body;
        lock (Gate)
        {
            (body, _unsent) = (_unsent, null);
        }

        if (body is not null && !TrySendRequest(channel, IcMessageType.Shutdown, body))
        {
            Complete(ShutdownOutcome.NoContact);
        }
    }

    private protected override void OnContactLost() => Complete(ShutdownOutcome.NoContact);

    private protected override void InspectService(InspectNode node)
    {
        lock (Gate)
        {
            node.Value("requestPending", _pending is not null);
        }
    }

    private void Complete(ShutdownOutcome outcome)
    {
        TaskCompletionSource<ShutdownOutcome>? pending;
        lock (Gate)
        {
            (pending, _pending, _unsent) = (_pending, null, null);
        }

        _timer.Disarm();
        pending?.TrySetResult(outcome);
    }
}
