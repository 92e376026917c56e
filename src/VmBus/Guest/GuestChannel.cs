using System.Runtime.InteropServices;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;
using Vitro.VmBus.Rings;

namespace Vitro.VmBus.Guest;

/// <summary>The guest's end of an open channel.</summary>
/// <remarks>One thread sends and one receives. Waits end in a <see cref="TimeoutException"/>.</remarks>
public sealed class GuestChannel : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly GuestBus _bus;
    private readonly uint _connectionId;
    private readonly RingWriter _writer;
    private readonly RingReader _reader;
    // One signal means both "there are packets" and "there is room": sender and receiver each get it.
    private readonly AutoResetEvent _packets = new(initialState: false);
    private readonly AutoResetEvent _room = new(initialState: false);
    private readonly Lock _gate = new();
    private bool _isDisposed;

    internal GuestChannel(GuestBus bus, uint channelId, uint ringGpadl, ReadOnlySpan<ulong> pages, int pagesEachWay, bool isResumed)
    {
        _bus = bus;
        ChannelId = channelId;
        _connectionId = VmBusConnection.FirstChannelConnectionId + channelId;
        RingGpadl = ringGpadl;
        if (!RingMemory.TryMap(bus.Memory, pages[..pagesEachWay], out var outgoing)
            || !RingMemory.TryMap(bus.Memory, pages[pagesEachWay..], out var incoming))
        {
            throw new ArgumentException("The ring's pages are not guest memory.", nameof(pages));
        }

        Outgoing = outgoing;
        Incoming = incoming;
        if (!isResumed)
        {
            Outgoing.Initialize();
            Incoming.Initialize();
        }

        _writer = new RingWriter(outgoing);
        _reader = new RingReader(incoming);
        bus.Ports.OnEvent((int)ChannelId, _ => OnEvent());
    }

    /// <summary>The relid.</summary>
    public uint ChannelId { get; }

    /// <summary>GPADL of the rings.</summary>
    public uint RingGpadl { get; }

    /// <summary>The guest-to-host ring.</summary>
    public RingMemory Outgoing { get; }

    /// <summary>The host-to-guest ring.</summary>
    public RingMemory Incoming { get; }

    /// <summary>Signals sent to the host.</summary>
    public long SignalCount { get; private set; }

    /// <summary>Sends a packet; false when the ring is full.</summary>
    public bool TrySend(
        VmBusPacketType type, VmBusPacketFlags flags, ulong transactionId, ReadOnlySpan<byte> payload, ReadOnlySpan<byte> extension = default)
    {
        if (!_writer.TryWrite(type, flags, transactionId, payload, extension))
        {
            return false;
        }

        if (_writer.Publish())
        {
            Signal();
        }

        return true;
    }

    /// <summary>Sends an in-band packet, waiting for room.</summary>
    public void Send(ReadOnlySpan<byte> payload, ulong transactionId = 0, VmBusPacketFlags flags = VmBusPacketFlags.None)
    {
        while (!TrySend(VmBusPacketType.InBand, flags, transactionId, payload))
        {
            WaitFor(_room);
        }
    }

    /// <summary>Sends a completion, waiting for room.</summary>
    public void SendCompletion(ulong transactionId, ReadOnlySpan<byte> payload)
    {
        while (!TrySend(VmBusPacketType.Completion, VmBusPacketFlags.None, transactionId, payload))
        {
            WaitFor(_room);
        }
    }

    /// <summary>
    /// Sends a GPA-direct packet of one range, waiting for room: <paramref name="byteCount"/> bytes from
    /// <paramref name="byteOffset"/> of the first page on.
    /// </summary>
    public void SendGpaDirect(ulong transactionId, ReadOnlySpan<byte> payload, uint byteCount, uint byteOffset, ReadOnlySpan<ulong> pages)
    {
        var extension = new byte[16 + (pages.Length * 8)];
        MemoryMarshal.Write(extension.AsSpan(4), 1u);
        MemoryMarshal.Write(extension.AsSpan(8), byteCount);
        MemoryMarshal.Write(extension.AsSpan(12), byteOffset);
        MemoryMarshal.AsBytes(pages).CopyTo(extension.AsSpan(16));
        while (!TrySend(VmBusPacketType.GpaDirect, VmBusPacketFlags.CompletionRequested, transactionId, payload, extension))
        {
            WaitFor(_room);
        }
    }

    /// <summary>Takes the next packet if there is one.</summary>
    public bool TryReceive(out GuestPacket packet)
    {
        var result = _reader.TryRead(out var read, out var writerWaits);
        if (writerWaits)
        {
            Signal();
        }

        packet = result == RingReadResult.Packet
            ? new GuestPacket(read.Type, read.Flags, read.TransactionId, read.Payload.ToArray(), read.Extension.ToArray())
            : default;
        return result == RingReadResult.Packet;
    }

    /// <summary>Waits for the next packet.</summary>
    public GuestPacket Receive()
    {
        GuestPacket packet;
        while (!TryReceive(out packet))
        {
            WaitFor(_packets);
        }

        return packet;
    }

    /// <summary>Signals the host.</summary>
    public void Signal()
    {
        SignalCount++;
        _bus.Ports.Signal(_connectionId);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Detach();
        lock (_gate)
        {
            _isDisposed = true;
            _packets.Dispose();
            _room.Dispose();
        }
    }

    internal void Detach() => _bus.Ports.OnEvent((int)ChannelId, null);

    private void OnEvent()
    {
        // The host may have taken the handler just before it was detached.
        lock (_gate)
        {
            if (!_isDisposed)
            {
                _packets.Set();
                _room.Set();
            }
        }
    }

    private static void WaitFor(AutoResetEvent signal)
    {
        if (!signal.WaitOne(Limit))
        {
            throw new TimeoutException("The host does not signal the channel.");
        }
    }
}

/// <summary>A packet the guest has taken.</summary>
/// <param name="Type">Packet type.</param>
/// <param name="Flags">Descriptor flags.</param>
/// <param name="TransactionId">Transaction.</param>
/// <param name="Payload">A copy of the payload, padded to 8 bytes.</param>
/// <param name="Extension">A copy of what lay between descriptor and payload.</param>
public readonly record struct GuestPacket(
    VmBusPacketType Type, VmBusPacketFlags Flags, ulong TransactionId, byte[] Payload, byte[] Extension);
