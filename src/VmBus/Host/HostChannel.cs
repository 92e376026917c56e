using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;
using Vitro.VmBus.Rings;

namespace Vitro.VmBus.Host;

/// <summary>
/// One opening of a channel: its rings, its backlog, and the worker that calls its service.
/// </summary>
/// <remarks>
/// The worker sleeps until the guest signals, somebody calls <see cref="Wake"/>, or the channel is paused or closed. Pausing
/// takes effect between two calls of the service.
/// </remarks>
internal sealed class HostChannel : IVmBusChannel, IInspectable
{
    private readonly VmBusHost _host;
    private readonly IVmBusService _service;
    private readonly RingReader _reader;
    private readonly RingWriter _writer;
    private readonly UserDefinedData _openData;
    private readonly PacketBacklog _backlog = new();
    private readonly Lock _sendGate = new();
    private readonly IVmBusWorker _worker;
    private int _batchDepth;
    private int _woken;
    private bool _opened;
    private long _signalsReceived;
    private long _signalsSent;
    private volatile bool _closing;
    private volatile bool _closed;
    private volatile bool _pauseWanted;
    private volatile TaskCompletionSource? _paused;

    internal HostChannel(
        VmBusHost host, OfferedChannel channel, IVmBusService service, RingMemory incoming, RingMemory outgoing, in OpenChannel request, bool restored)
    {
        _host = host;
        _service = service;
        Channel = channel;
        IsRestored = restored;
        _openData = request.UserData;
        VmBusVersion = host.Version;
        SendCapacity = outgoing.DataSize - 8;
        _reader = new RingReader(incoming);
        _writer = new RingWriter(outgoing);
        _worker = host.Workers.Create(
            channel.SubChannelIndex == 0 ? $"vmbus-{channel.Offer.Name}" : $"vmbus-{channel.Offer.Name}-{channel.SubChannelIndex}", Work);
    }

    public uint ChannelId => Channel.ChannelId;

    public ushort SubChannelIndex => Channel.SubChannelIndex;

    public ReadOnlySpan<byte> OpenData => _openData;

    public uint VmBusVersion { get; }

    public bool IsRestored { get; }

    public bool IsOpen => !_closing && !_closed;

    public GpaSpace Memory => _host.Memory;

    public int SendCapacity { get; }

    public object? Tag { get; set; }

    internal OfferedChannel Channel { get; }

    /// <summary>What an engine's kernel adds to at a signal of the guest, in place of a call of <see cref="OnGuestSignal"/>; null when it cannot.</summary>
    internal SafeHandle? SignalFile => _worker.WakeFile;

    internal ReadOnlySpan<byte> Backlog => _backlog.Pending;

    public bool TryReceive(out VmBusPacket packet)
    {
        packet = default;
        if (_closing || !TryDrainBacklog())
        {
            return false;
        }

        var result = _reader.TryRead(out packet, out var writerWaits);
        if (writerWaits)
        {
            SignalGuest();
        }

        if (result == RingReadResult.Broken)
        {
            _host.OnViolation($"The guest broke the incoming ring of channel {ChannelId}; it stays silent until it is opened again.");
        }

        return result == RingReadResult.Packet;
    }

    public bool TrySend(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload)
    {
        lock (_sendGate)
        {
            if (_closed || !DrainBacklog() || !_writer.TryWrite(type, flags, transactionId, payload))
            {
                // A full ring must be visible to be drained, batch or not.
                Publish();
                return false;
            }

            if (_batchDepth == 0)
            {
                Publish();
            }

            return true;
        }
    }

    public void Send(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload)
    {
        lock (_sendGate)
        {
            if (_closed || TrySend(type, flags, transactionId, payload) || _writer.IsBroken)
            {
                return;
            }

            if (payload.Length > _writer.MaximumPayload || !_backlog.TryAdd(type, flags, transactionId, payload))
            {
                _host.OnViolation($"A packet of {payload.Length} bytes for channel {ChannelId} was dropped: the guest does not take its packets.");
            }
        }
    }

    public void BeginBatch()
    {
        lock (_sendGate)
        {
            _batchDepth++;
        }
    }

    public void EndBatch()
    {
        lock (_sendGate)
        {
            if (--_batchDepth == 0)
            {
                Publish();
            }
        }
    }

    public void Wake()
    {
        if (Interlocked.Exchange(ref _woken, 1) == 0)
        {
            _worker.Wake();
        }
    }

    public void OfferSubChannels(int count) => _host.OfferSubChannels(this, count);

    public bool TryGetGpadl(uint handle, out Gpadl gpadl) => _host.TryGetGpadl(ChannelId, handle, out gpadl);

    public void Inspect(InspectNode node)
    {
        node.Value("signalsReceived", Interlocked.Read(ref _signalsReceived)).Value("signalsSent", Interlocked.Read(ref _signalsSent));
        var ring = node.Child("ring");
        ring.Child("incoming")
            .Value("packets", _reader.PacketCount)
            .Value("bytes", _reader.ByteCount)
            .Value("broken", _reader.IsBroken);
        ring.Child("outgoing")
            .Value("packets", _writer.PacketCount)
            .Value("bytes", _writer.ByteCount)
            .Value("full", _writer.FullCount)
            .Value("backlog", _backlog.Count)
            .Value("broken", _writer.IsBroken);
        if (_service is IInspectable inspectable && SubChannelIndex == 0)
        {
            node.Child("service", inspectable);
        }
    }

    internal void OnGuestSignal()
    {
        Interlocked.Increment(ref _signalsReceived);
        Wake();
    }

    /// <summary>Starts the worker; a paused channel waits for <see cref="Resume"/> before its service is called.</summary>
    internal void Start(bool paused)
    {
        _pauseWanted = paused;
        _worker.Start();
    }

    /// <summary>Lets the service go and ends the worker.</summary>
    internal void Close()
    {
        _closing = true;
        Wake();
    }

    /// <summary>Keeps the worker from calling the service; completes when no call is under way.</summary>
    internal Task PauseAsync()
    {
        var paused = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _paused = paused;
        _pauseWanted = true;
        Wake();
        return _closed ? Task.CompletedTask : paused.Task;
    }

    internal void Resume()
    {
        _pauseWanted = false;
        Wake();

        // Spurious signals are harmless and cure whatever edge was lost over a save and restore.
        SignalGuest();
    }

    internal bool TryRestoreBacklog(ReadOnlySpan<byte> bytes) => _backlog.TryRestore(bytes);

    private WorkerRound Work()
    {
        // Cleared before the wishes and the rings are looked at: a signal from here on makes another round.
        Interlocked.Exchange(ref _woken, 0);
        if (_closing)
        {
            End();
            return WorkerRound.Ended;
        }

        if (_pauseWanted)
        {
            _paused?.TrySetResult();
            return WorkerRound.Done;
        }

        if (!_opened)
        {
            _opened = true;
            Guard(static (service, channel) => service.OnOpened(channel));
        }

        TryDrainBacklog();
        Guard(static (service, channel) => service.OnSignalled(channel));
        return WorkerRound.Done;
    }

    private void End()
    {
        if (_opened)
        {
            Guard(static (service, channel) => service.OnClosed(channel));
        }

        lock (_sendGate)
        {
            _closed = true;
        }

        _host.OnClosed(this);
        _paused?.TrySetResult();
    }

    // A service that fails takes its own channel down, not the machine.
    private void Guard(Action<IVmBusService, HostChannel> call)
    {
        try
        {
            call(_service, this);
        }
        catch (Exception e)
        {
            _host.Logger.LogError(e, "The service of channel {Channel} ({Name}) failed.", ChannelId, Channel.Offer.Name);
        }
    }

    private bool TryDrainBacklog()
    {
        if (_backlog.IsEmpty)
        {
            return true;
        }

        lock (_sendGate)
        {
            var drained = DrainBacklog();
            Publish();
            return drained;
        }
    }

    private bool DrainBacklog()
    {
        while (!_backlog.IsEmpty)
        {
            _backlog.Peek(out var type, out var flags, out var transactionId, out var payload);
            if (!_writer.TryWrite(type, flags, transactionId, payload))
            {
                return false;
            }

            _backlog.Remove();
        }

        return true;
    }

    private void Publish()
    {
        if (_writer.Publish())
        {
            SignalGuest();
        }
    }

    private void SignalGuest()
    {
        Interlocked.Increment(ref _signalsSent);
        _host.SignalGuest(Channel);
    }
}
