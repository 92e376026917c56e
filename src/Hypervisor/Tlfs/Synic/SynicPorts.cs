using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>The connection tables of a partition and the way to each processor's SynIC.</summary>
internal sealed class SynicPorts(SynicProcessor[] processors) : ISynicPorts, IInspectable
{
    // TLFS: connection ids have 24 bits.
    private const uint ConnectionMask = 0xFF_FFFF;
    private readonly PortTable<IMessagePort> _messagePorts = new();
    private readonly PortTable<IEventPort> _eventPorts = new();
    private IPartition? _partition;

    public int VirtualProcessorCount => processors.Length;

    public void RegisterMessagePort(uint connectionId, IMessagePort port) => _messagePorts.Set(connectionId & ConnectionMask, port);

    public void UnregisterMessagePort(uint connectionId) => _messagePorts.Remove(connectionId & ConnectionMask);

    public void RegisterEventPort(uint connectionId, IEventPort port) => _eventPorts.Set(connectionId & ConnectionMask, port);

    public void UnregisterEventPort(uint connectionId) => _eventPorts.Remove(connectionId & ConnectionMask);

    public bool TryBindEventPort(uint connectionId, SafeHandle file) =>
        _partition is { } partition && partition.TryBindSignal(connectionId & ConnectionMask, file);

    public void UnbindEventPort(uint connectionId) => _partition?.UnbindSignal(connectionId & ConnectionMask);

    public bool TryPostMessage(int vpIndex, int sint, uint messageType, ulong sender, ReadOnlySpan<byte> payload)
    {
        ArgumentOutOfRangeException.ThrowIfZero(messageType);
        if (payload.Length > ISynicPorts.MaxPayload)
        {
            throw new ArgumentException("A message payload has at most 240 bytes.", nameof(payload));
        }

        return Exists(vpIndex, sint) && processors[vpIndex].TryPostMessage(sint, new SynicMessage(messageType, sender, payload));
    }

    public int GetQueuedMessageCount(int vpIndex, int sint) => Exists(vpIndex, sint) ? processors[vpIndex].GetQueuedMessageCount(sint) : 0;

    public void DiscardMessages(int vpIndex, int sint)
    {
        if (Exists(vpIndex, sint))
        {
            processors[vpIndex].DiscardMessages(sint);
        }
    }

    public bool TrySignalEvent(int vpIndex, int sint, int flag) =>
        Exists(vpIndex, sint) && (uint)flag < ISynicPorts.EventFlagCount && processors[vpIndex].TrySignalEvent(sint, flag);

    public void Inspect(InspectNode node) => node.Value("messagePorts", _messagePorts.Count).Value("eventPorts", _eventPorts.Count);

    internal void Attach(IPartition partition) => _partition = partition;

    internal HypercallStatus OnMessage(int vpIndex, uint connectionId, uint messageType, ReadOnlySpan<byte> payload) =>
        _messagePorts.TryGet(connectionId & ConnectionMask, out var port)
            ? port.OnMessage(vpIndex, messageType, payload)
            : HypercallStatus.InvalidConnectionId;

    internal HypercallStatus OnSignal(uint connectionId, int flag)
    {
        if (!_eventPorts.TryGet(connectionId & ConnectionMask, out var port))
        {
            return HypercallStatus.InvalidConnectionId;
        }

        port.OnSignal(flag);
        return HypercallStatus.Success;
    }

    // Targets come from the guest (VMBus messages name them), so a wrong one is an answer, not an exception.
    private bool Exists(int vpIndex, int sint) => (uint)vpIndex < (uint)processors.Length && (uint)sint < ISynicPorts.SintCount;
}
