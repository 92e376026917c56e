using System.Collections.Concurrent;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Tlfs.Synic;

namespace Vitro.VmBus.Guest;

/// <summary>
/// SynIC ports without a SynIC: both ends in one process, with the guest's side of messages and events as methods. For
/// tests of the bus and its services.
/// </summary>
/// <remarks>Thread-safe.</remarks>
public sealed class LoopbackPorts(int virtualProcessorCount = 1) : ISynicPorts, IDisposable
{
    private readonly ConcurrentDictionary<uint, IMessagePort> _messagePorts = new();
    private readonly ConcurrentDictionary<uint, IEventPort> _eventPorts = new();
    private readonly ConcurrentDictionary<int, Action<int>> _events = new();
    private readonly BlockingCollection<byte[]> _messages = [];

    /// <inheritdoc/>
    public int VirtualProcessorCount { get; } = virtualProcessorCount;

    /// <summary>The processor that was last sent an event.</summary>
    public int LastEventVp { get; private set; } = -1;

    /// <summary>Events sent to the guest.</summary>
    public long EventCount { get; private set; }

    /// <inheritdoc/>
    public void RegisterMessagePort(uint connectionId, IMessagePort port) => _messagePorts[connectionId] = port;

    /// <inheritdoc/>
    public void UnregisterMessagePort(uint connectionId) => _messagePorts.TryRemove(connectionId, out _);

    /// <inheritdoc/>
    public void RegisterEventPort(uint connectionId, IEventPort port) => _eventPorts[connectionId] = port;

    /// <inheritdoc/>
    public void UnregisterEventPort(uint connectionId) => _eventPorts.TryRemove(connectionId, out _);

    /// <inheritdoc/>
    public bool TryPostMessage(int vpIndex, int sint, uint messageType, ulong sender, ReadOnlySpan<byte> payload)
    {
        if (_messages.Count >= ISynicPorts.MessageQueueLimit)
        {
            return false;
        }

        _messages.Add(payload.ToArray());
        return true;
    }

    /// <inheritdoc/>
    public int GetQueuedMessageCount(int vpIndex, int sint) => _messages.Count;

    /// <inheritdoc/>
    public void DiscardMessages(int vpIndex, int sint)
    {
        while (_messages.TryTake(out _))
        {
            // Dropped.
        }
    }

    /// <inheritdoc/>
    public bool TrySignalEvent(int vpIndex, int sint, int flag)
    {
        LastEventVp = vpIndex;
        EventCount++;
        if (_events.TryGetValue(flag, out var handler))
        {
            handler(flag);
        }

        return true;
    }

    /// <summary>The guest posts a message.</summary>
    public HypercallStatus Post(uint connectionId, ReadOnlySpan<byte> payload, uint messageType = 1) =>
        _messagePorts.TryGetValue(connectionId, out var port) ? port.OnMessage(0, messageType, payload) : HypercallStatus.InvalidConnectionId;

    /// <summary>The guest signals an event.</summary>
    public HypercallStatus Signal(uint connectionId)
    {
        if (!_eventPorts.TryGetValue(connectionId, out var port))
        {
            return HypercallStatus.InvalidConnectionId;
        }

        port.OnSignal(0);
        return HypercallStatus.Success;
    }

    /// <summary>The guest takes the oldest message; null when none comes in time.</summary>
    public byte[]? Take(TimeSpan timeout) => _messages.TryTake(out var message, timeout) ? message : null;

    /// <summary>Calls <paramref name="handler"/> on each event with this flag, on the sender's thread.</summary>
    public void OnEvent(int flag, Action<int>? handler)
    {
        if (handler is null)
        {
            _events.TryRemove(flag, out _);
        }
        else
        {
            _events[flag] = handler;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _messages.Dispose();
}
