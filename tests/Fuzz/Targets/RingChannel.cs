using Vitro.Hypervisor.Vid;
using Vitro.VmBus;
using Vitro.VmBus.Rings;

namespace Vitro.Fuzz.Targets;

/// <summary>A channel whose guest-to-host ring is real and whose other direction only counts; everything on the caller's thread.</summary>
internal sealed class RingChannel(GpaSpace memory, RingMemory ring) : IVmBusChannel
{
    private readonly RingWriter _writer = new(ring);
    private readonly RingReader _reader = new(ring);

    public uint ChannelId => 1;

    public ushort SubChannelIndex => 0;

    public ReadOnlySpan<byte> OpenData => [];

    public uint VmBusVersion => 0x00050003;

    public bool IsRestored => false;

    public bool IsOpen => true;

    public GpaSpace Memory => memory;

    public int SendCapacity => 4096;

    public object? Tag { get; set; }

    internal int Wanted { get; private set; }

    internal int Completed { get; private set; }

    public bool TryReceive(out VmBusPacket packet)
    {
        var received = _reader.TryRead(out packet, out _) == RingReadResult.Packet;
        Wanted += received && packet.CompletionRequested ? 1 : 0;
        return received;
    }

    public bool TrySend(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload)
    {
        Completed += type == VmBusPacketType.Completion ? 1 : 0;
        return true;
    }

    public void Send(VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload) =>
        TrySend(type, flags, transactionId, payload);

    public void BeginBatch()
    {
    }

    public void EndBatch()
    {
    }

    public void Wake()
    {
    }

    public void OfferSubChannels(int count)
    {
    }

    public bool TryGetGpadl(uint handle, out Gpadl gpadl)
    {
        gpadl = null!;
        return false;
    }

    internal void Write(VmBusPacketType type, VmBusPacketFlags flags, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> extension)
    {
        _writer.TryWrite(type, flags, 1, payload, extension);
        _writer.Publish();
    }
}
