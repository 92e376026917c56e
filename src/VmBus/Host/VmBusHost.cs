using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Rings;

namespace Vitro.VmBus.Host;

/// <summary>
/// The host's VMBus: connects the connection's state machine to the partition's SynIC ports, guest memory and services.
/// </summary>
/// <remarks>
/// Guest messages are queued by the processors and taken in order by one worker. One lock guards the connection; it is
/// never held while a service is called. Services are stopped before the bus or after it, as the owner likes: a channel's
/// worker calls its service only while the bus runs. Call <see cref="StopAsync"/> before <see cref="Dispose"/>.
/// </remarks>
public sealed partial class VmBusHost : IVmBus, IVirtualDevice, IMessagePort, IDisposable
{
    // Above this the guest's requests wait: each can make answers, and a lost answer would hang the guest.
    private const int AnswerBacklogLimit = ISynicPorts.MessageQueueLimit / 2;

    private readonly ISynicPorts _ports;
    private readonly VmBusConnection _connection;
    private readonly Lock _gate = new();
    private readonly MessageQueue _messages = new();
    private readonly GuestEventLimiter _violations = new();
    private readonly Dictionary<string, OfferHandle> _offers = new(StringComparer.Ordinal);
    private readonly Dictionary<uint, HostChannel> _open = [];
    private readonly Dictionary<uint, SignalPort> _signalPorts = [];
    private volatile IVmBusWorker? _messageWorker;
    private TaskCompletionSource? _quiet;
    private volatile bool _running;

    /// <summary>Creates a bus with no offers and takes the partition's message connections.</summary>
    /// <param name="ports">The partition's SynIC.</param>
    /// <param name="memory">The partition's memory.</param>
    /// <param name="logger">Where breaches of the protocol and failures of services are told.</param>
    /// <param name="workers">Who does the bus's work; a thread for each channel when null.</param>
    public VmBusHost(ISynicPorts ports, GpaSpace memory, ILogger? logger = null, IVmBusWorkers? workers = null)
    {
        _ports = ports;
        Workers = workers ?? WorkerThreads.Instance;
        Memory = memory;
        Logger = logger ?? NullLogger.Instance;
        _connection = new VmBusConnection(new Actions(this), ports.VirtualProcessorCount);
        ports.RegisterMessagePort(VmBusConnection.LegacyMessageConnectionId, this);
        ports.RegisterMessagePort(VmBusConnection.MessageConnectionId, this);
    }

    /// <inheritdoc/>
    public string Name => "vmbus";

    /// <summary>Whether a guest is connected.</summary>
    public bool IsConnected
    {
        get
        {
            lock (_gate)
            {
                return _connection.Version is not null;
            }
        }
    }

    internal GpaSpace Memory { get; }

    internal IVmBusWorkers Workers { get; }

    internal ILogger Logger { get; }

    internal uint Version => _connection.Version?.Value ?? 0;

    /// <inheritdoc/>
    public IVmBusOfferHandle Offer(IVmBusService service)
    {
        lock (_gate)
        {
            var name = service.Offer.Name;
            if (_offers.ContainsKey(name))
            {
                throw new InvalidOperationException($"A service named {name} is offered already.");
            }

            var handle = new OfferHandle(service, _connection.Offer(service.Offer, service));
            _offers.Add(name, handle);
            return handle;
        }
    }

    /// <inheritdoc/>
    public void Rescind(IVmBusOfferHandle offer)
    {
        lock (_gate)
        {
            if (_offers.TryGetValue(offer.Service.Offer.Name, out var handle) && ReferenceEquals(handle, offer))
            {
                _offers.Remove(offer.Service.Offer.Name);
                _connection.Rescind(handle.Channel);
            }
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        if (_running)
        {
            return;
        }

        _running = true;
        var worker = Workers.Create("vmbus-messages", TakeMessages);
        _messageWorker = worker;
        worker.Start();
        lock (_gate)
        {
            foreach (var channel in _open.Values)
            {
                channel.Resume();
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask StopAsync()
    {
        if (!_running)
        {
            return;
        }

        _running = false;
        var worker = _messageWorker!;
        worker.Wake();
        await Task.Run(worker.Join);
        await WhenNothingCloses();
        Task[] paused;
        lock (_gate)
        {
            paused = [.. _open.Values.Select(channel => channel.PauseAsync())];
        }

        await Task.WhenAll(paused);
    }

    /// <inheritdoc/>
    /// <remarks>The guest is gone: channels close in the background, and a following <see cref="Start"/> finds a bus with its offers only.</remarks>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            _messages.Clear();
            _connection.Disconnect();
        }

        WhenNothingCloses().GetAwaiter().GetResult();
    }

    /// <inheritdoc/>
    public HypercallStatus OnMessage(int vpIndex, uint messageType, ReadOnlySpan<byte> payload)
    {
        if (messageType != ChannelMessageSynicType)
        {
            OnViolation($"A message of SynIC type {messageType} was dropped.");
            return HypercallStatus.Success;
        }

        if (!_messages.TryAdd(payload))
        {
            return HypercallStatus.InsufficientBuffers;
        }

        _messageWorker?.Wake();
        return HypercallStatus.Success;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ports.UnregisterMessagePort(VmBusConnection.LegacyMessageConnectionId);
        _ports.UnregisterMessagePort(VmBusConnection.MessageConnectionId);
        lock (_gate)
        {
            _connection.Disconnect();
        }

        if (_running)
        {
            _running = false;
            _messageWorker!.Wake();
            _messageWorker.Join();
        }
    }

    internal void OfferSubChannels(HostChannel channel, int count)
    {
        lock (_gate)
        {
            _connection.OfferSubChannels(channel.Channel, count);
        }
    }

    internal bool TryGetGpadl(uint channelId, uint handle, out Gpadl gpadl)
    {
        var found = _connection.TryGetGpadl(channelId, handle, out var list);
        gpadl = list!;
        return found;
    }

    internal void SignalGuest(OfferedChannel channel) =>
        _ports.TrySignalEvent((int)channel.TargetVp, _connection.MessageTargetSint, (int)channel.ChannelId);

    internal void OnClosed(HostChannel channel)
    {
        lock (_gate)
        {
            _open.Remove(channel.ChannelId);
            _ports.UnbindEventPort(channel.Channel.ConnectionId);
            if (_signalPorts.TryGetValue(channel.ChannelId, out var port))
            {
                port.Open = null;
            }

            _connection.OnChannelClosed(channel.Channel);
            if (_connection.Channels.All(other => other.State != ChannelState.Closing))
            {
                _quiet?.TrySetResult();
                _quiet = null;
            }
        }
    }

    internal void OnViolation(string what)
    {
        if (_violations.ShouldLog())
        {
            Logger.LogWarning("Guest broke the VMBus protocol ({Count} times so far): {What}", _violations.Count, what);
        }
    }

    private const uint ChannelMessageSynicType = Protocol.ChannelMessage.SynicMessageType;

    private WorkerRound TakeMessages()
    {
        Span<byte> message = stackalloc byte[ISynicPorts.MaxPayload];
        while (_running)
        {
            // While the guest does not take its answers, its requests wait, and in the end its hypercall is told to retry.
            if (_ports.GetQueuedMessageCount(_connection.MessageTargetVp, _connection.MessageTargetSint) > AnswerBacklogLimit)
            {
                return WorkerRound.Again;
            }

            if (!_messages.TryTake(message, out var length))
            {
                return WorkerRound.Done;
            }

            lock (_gate)
            {
                _connection.OnMessage(message[..length]);
            }
        }

        return WorkerRound.Ended;
    }

    private Task WhenNothingCloses()
    {
        lock (_gate)
        {
            if (_connection.Channels.All(channel => channel.State != ChannelState.Closing))
            {
                return Task.CompletedTask;
            }

            _quiet ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return _quiet.Task;
        }
    }

    private IVmBusService ServiceOf(OfferedChannel channel) => (IVmBusService)channel.Owner!;

    private bool TryOpenRings(
        OfferedChannel channel, Gpadl rings, in Protocol.OpenChannel request, bool restored, out HostChannel open)
    {
        open = null!;
        if (rings.Ranges.Length != 1 || rings.Ranges[0] is not { ByteOffset: 0 } range || range.ByteCount % GuestMemory.PageSize != 0
            || request.DownstreamPageOffset >= (uint)range.PageNumbers.Length)
        {
            return false;
        }

        var pages = range.PageNumbers.AsSpan();
        if (!RingMemory.TryMap(Memory, pages[..(int)request.DownstreamPageOffset], out var incoming)
            || !RingMemory.TryMap(Memory, pages[(int)request.DownstreamPageOffset..], out var outgoing))
        {
            return false;
        }

        open = new HostChannel(this, channel, ServiceOf(channel), incoming, outgoing, in request, restored);
        return true;
    }

    private sealed class OfferHandle(IVmBusService service, OfferedChannel channel) : IVmBusOfferHandle
    {
        public IVmBusService Service { get; } = service;

        public uint ChannelId => Channel.ChannelId;

        internal OfferedChannel Channel { get; set; } = channel;
    }

    /// <summary>Wakes the channel's worker; signals to a closed channel go nowhere.</summary>
    private sealed class SignalPort : IEventPort
    {
        internal volatile HostChannel? Open;

        public void OnSignal(int flag) => Open?.OnGuestSignal();
    }
}
