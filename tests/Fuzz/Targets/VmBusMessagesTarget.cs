using Vitro.VmBus;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;

namespace Vitro.Fuzz.Targets;

/// <summary>
/// Channel messages into the connection: each a length, then bytes. Odd lengths let a closing service go between messages.
/// Afterwards a guest that starts anew must be served and nothing of the old connection be left.
/// </summary>
internal sealed class VmBusMessagesTarget : IFuzzTarget
{
    public string Name => "vmbus-messages";

    public void Run(ReadOnlySpan<byte> input)
    {
        var actions = new Actions();
        var connection = new VmBusConnection(actions, virtualProcessorCount: 2);
        for (var i = 0; i < 3; i++)
        {
            connection.Offer(new VmBusOffer
            {
                Name = $"service{i}",
                InterfaceType = VmBusClass.Scsi,
                InstanceId = new Guid(i, 0, 0, new byte[8]),
                MaximumSubChannels = 2,
            });
        }

        Contact(connection);
        var fuzz = new FuzzInput(input);
        while (!fuzz.IsEmpty)
        {
            var length = fuzz.Byte();
            connection.OnMessage(fuzz.Bytes(Math.Min((int)length, ChannelMessage.MaximumSize)));
            if ((length & 1) != 0)
            {
                actions.LetGo(connection);
            }
        }

        actions.LetGo(connection);
        Contact(connection);
        actions.LetGo(connection);
        if (connection.Version != VmBusVersion.V5_3 || connection.GpadlPageCount != 0 || connection.Channels.Count != 3)
        {
            throw new InvalidOperationException("The connection did not recover.");
        }
    }

    private static void Contact(VmBusConnection connection)
    {
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        connection.OnMessage(message[..ChannelMessage.Write(message, new InitiateContact(VmBusVersion.V5_3, 0, 2, 0, 0))]);
        connection.OnMessage(message[..ChannelMessage.Write(message, ChannelMessageType.RequestOffers)]);
    }

    private sealed class Actions : IConnectionActions
    {
        private readonly Queue<OfferedChannel> _closing = [];

        public void Send(ReadOnlySpan<byte> message)
        {
            if (message.Length > ChannelMessage.MaximumSize)
            {
                throw new InvalidOperationException("A message is too long.");
            }
        }

        public void DiscardMessages()
        {
        }

        public void OnAdded(OfferedChannel channel)
        {
        }

        public void OnRemoved(OfferedChannel channel)
        {
            if (channel.State != ChannelState.Closed)
            {
                throw new InvalidOperationException("A channel went away while its service ran.");
            }
        }

        public bool TryOpen(OfferedChannel channel, Gpadl rings, in OpenChannel request) => (request.DownstreamPageOffset & 1) == 0;

        public void Start(OfferedChannel channel)
        {
        }

        public void Close(OfferedChannel channel) => _closing.Enqueue(channel);

        public void Retarget(OfferedChannel channel)
        {
        }

        public void OnViolation(string what)
        {
        }

        internal void LetGo(VmBusConnection connection)
        {
            while (_closing.TryDequeue(out var channel))
            {
                connection.OnChannelClosed(channel);
            }
        }
    }
}
