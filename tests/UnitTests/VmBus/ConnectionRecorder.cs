using Vitro.VmBus;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;

namespace Vitro.UnitTests.VmBus;

/// <summary>A connection whose actions are noted; services let go when the test says so.</summary>
internal sealed class ConnectionRecorder : IConnectionActions
{
    internal ConnectionRecorder() => Connection = new VmBusConnection(this, virtualProcessorCount: 2);

    internal VmBusConnection Connection { get; }

    internal List<byte[]> Sent { get; } = [];

    internal List<string> Actions { get; } = [];

    internal List<OfferedChannel> Closing { get; } = [];

    internal int Violations { get; private set; }

    internal bool AcceptsOpens { get; set; } = true;

    internal ChannelMessageType LastType => TypeOf(Sent[^1]);

    public void Send(ReadOnlySpan<byte> message) => Sent.Add(message.ToArray());

    public void DiscardMessages() => Actions.Add("discard");

    public void OnAdded(OfferedChannel channel) => Actions.Add($"add {channel.ChannelId}");

    public void OnRemoved(OfferedChannel channel) => Actions.Add($"remove {channel.ChannelId}");

    public bool TryOpen(OfferedChannel channel, Gpadl rings, in OpenChannel request) => AcceptsOpens;

    public void Start(OfferedChannel channel) => Actions.Add($"start {channel.ChannelId}");

    public void Close(OfferedChannel channel)
    {
        Actions.Add($"close {channel.ChannelId}");
        Closing.Add(channel);
    }

    public void Retarget(OfferedChannel channel) => Actions.Add($"retarget {channel.ChannelId} {channel.TargetVp}");

    public void OnViolation(string what) => Violations++;

    internal static ChannelMessageType TypeOf(byte[] message) =>
        ChannelMessage.TryReadType(message, out var type) ? type : default;

    internal T Last<T>()
        where T : unmanaged, IChannelMessageBody
    {
        var message = Sent.FindLast(message => TypeOf(message) == T.Type) ?? throw new InvalidOperationException($"No {T.Type} was sent.");
        ChannelMessage.TryReadBody<T>(message, out var body);
        return body;
    }

    internal int CountOf(ChannelMessageType type) => Sent.Count(message => TypeOf(message) == type);

    internal void Guest<T>(in T body)
        where T : unmanaged, IChannelMessageBody
    {
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        Connection.OnMessage(message[..ChannelMessage.Write(message, in body)]);
    }

    internal void Guest(ChannelMessageType type)
    {
        Span<byte> message = stackalloc byte[ChannelMessage.HeaderSize];
        ChannelMessage.Write(message, type);
        Connection.OnMessage(message);
    }

    internal void Header(uint channelId, uint handle, ushort rangeCount, params ulong[] words)
    {
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        var size = ChannelMessage.Write(message, new GpadlHeader(channelId, handle, (ushort)(words.Length * 8), rangeCount));
        Words(message, size, words);
    }

    internal void Body(uint handle, params ulong[] words)
    {
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        Words(message, ChannelMessage.Write(message, new GpadlBody(0, handle)), words);
    }

    internal void Released()
    {
        foreach (var channel in Closing.ToArray())
        {
            Closing.Remove(channel);
            Connection.OnChannelClosed(channel);
        }
    }

    /// <summary>Connects, offers one service, and opens its channel when asked.</summary>
    internal OfferedChannel Connected(uint version = 0x00050003, bool open = false)
    {
        var channel = Connection.Offer(NewOffer());
        Guest(new InitiateContact(new VmBusVersion(version), 0, 2, 0, 0));
        Guest(ChannelMessageType.RequestOffers);
        if (open)
        {
            Header(channel.ChannelId, 0xE1E10, 1, Range(4 * 4096, 0), 1, 2, 3, 4);
            Open(channel);
        }

        return channel;
    }

    internal void Open(OfferedChannel channel, uint gpadl = 0xE1E10, uint targetVp = 0) => Guest(new OpenChannel
    {
        ChannelId = channel.ChannelId,
        OpenId = channel.ChannelId,
        RingGpadl = gpadl,
        TargetVp = targetVp,
        DownstreamPageOffset = 2,
    });

    internal static VmBusOffer NewOffer(int maximumSubChannels = 4) => new()
    {
        Name = "test",
        InterfaceType = VmBusClass.Scsi,
        InstanceId = Guid.NewGuid(),
        MaximumSubChannels = maximumSubChannels,
    };

    internal static ulong Range(uint byteCount, uint byteOffset) => byteCount | ((ulong)byteOffset << 32);

    private void Words(Span<byte> message, int size, ulong[] words)
    {
        foreach (var word in words)
        {
            BitConverter.TryWriteBytes(message[size..], word);
            size += 8;
        }

        Connection.OnMessage(message[..size]);
    }
}
