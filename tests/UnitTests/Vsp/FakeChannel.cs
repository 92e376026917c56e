using Vitro.Hypervisor.Vid;
using Vitro.VmBus;

namespace Vitro.UnitTests.Vsp;

/// <summary>An open channel without a bus: the test plays the guest. Calls of the service happen inside <see cref="Pump"/>.</summary>
internal sealed class FakeChannel(IVmBusService service) : IVmBusChannel
{
    private readonly Queue<(VmBusPacketType Type, byte[] Payload)> _fromGuest = new();
    private bool _signalled;

    /// <summary>Packets the service sent and the guest has not taken yet.</summary>
    internal Queue<byte[]> ToGuest { get; } = new();

    /// <summary>Packets the ring holds.</summary>
    internal int Room { get; set; } = int.MaxValue;

    public uint ChannelId => 1;

    public ushort SubChannelIndex => 0;

    public ReadOnlySpan<byte> OpenData => new byte[120];

    public uint VmBusVersion => 0x0005_0003;

    public bool IsRestored { get; init; }

    public bool IsOpen { get; private set; }

    public GpaSpace Memory => throw new NotSupportedException();

    public int SendCapacity => 4096;

    public object? Tag { get; set; }

    internal void Open()
    {
        IsOpen = true;
        service.OnOpened(this);
        Pump();
    }

    internal void Close()
    {
        IsOpen = false;
        service.OnClosed(this);
    }

    internal void FromGuest(ReadOnlySpan<byte> payload, VmBusPacketType type = VmBusPacketType.InBand)
    {
        _fromGuest.Enqueue((type, payload.ToArray()));
        _signalled = true;
        Pump();
    }

    internal void Pump()
    {
        while (_signalled && IsOpen)
        {
            _signalled = false;
            service.OnSignalled(this);
        }
    }

    internal byte[] Take()
    {
        Pump();
        var packet = ToGuest.Dequeue();
        _signalled = true;
        Pump();
        return packet;
    }

    public bool TryReceive(out VmBusPacket packet)
    {
        if (!_fromGuest.TryDequeue(out var next))
        {
            packet = default;
            return false;
        }

        packet = new VmBusPacket(next.Type, VmBusPacketFlags.None, 0, next.Payload, default);
        return true;
    }

    public bool TrySend(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload)
    {
        if (ToGuest.Count >= Room)
        {
            return false;
        }

        ToGuest.Enqueue(payload.ToArray());
        return true;
    }

    public void Send(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload) =>
        ToGuest.Enqueue(payload.ToArray());

    public void BeginBatch()
    {
        // Every packet is published at once.
    }

    public void EndBatch()
    {
        // As above.
    }

    public void Wake() => _signalled = true;

    public void OfferSubChannels(int count) => throw new NotSupportedException();

    public bool TryGetGpadl(uint handle, out Gpadl gpadl)
    {
        gpadl = null!;
        return false;
    }
}
