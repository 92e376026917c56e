using Vitro.Foundation;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Host;

/// <content>What the connection asks for, and the inspect tree.</content>
public sealed partial class VmBusHost
{
    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("version", _connection.Version?.ToString() ?? "not connected")
                .Value("messageVp", _connection.MessageTargetVp)
                .Value("messageSint", _connection.MessageTargetSint)
                .Value("messagesWaiting", _messages.Count)
                .Value("answersWaiting", _ports.GetQueuedMessageCount(_connection.MessageTargetVp, _connection.MessageTargetSint))
                .Value("gpadls", _connection.GpadlCount)
                .Value("gpadlPages", _connection.GpadlPageCount)
                .Value("violations", _violations.Count);
            var channels = node.Child("channels");
            foreach (var channel in _connection.Channels)
            {
                var child = channels.Child(channel.ChannelId.ToString(System.Globalization.CultureInfo.InvariantCulture))
                    .Value("name", channel.Offer.Name)
                    .Value("subChannel", channel.SubChannelIndex)
                    .Value("class", channel.Offer.InterfaceType.ToString())
                    .Value("instance", channel.Offer.InstanceId.ToString())
                    .Value("state", channel.State.ToString())
                    .Value("announced", channel.IsAnnounced)
                    .Value("rescinded", channel.IsRescinded)
                    .Value("targetVp", channel.TargetVp);
                if (_open.TryGetValue(channel.ChannelId, out var open))
                {
                    open.Inspect(child);
                }
            }
        }
    }

    private sealed class Actions(VmBusHost host) : IConnectionActions
    {
        private HostChannel? _opening;

        public void Send(ReadOnlySpan<byte> message)
        {
            var connection = host._connection;
            if (!host._ports.TryPostMessage(
                connection.MessageTargetVp, connection.MessageTargetSint, ChannelMessage.SynicMessageType, 0, message))
            {
                host.OnViolation("A message to the guest was lost: it does not take its messages.");
            }
        }

        public void DiscardMessages() =>
            host._ports.DiscardMessages(host._connection.MessageTargetVp, host._connection.MessageTargetSint);

        public void OnAdded(OfferedChannel channel)
        {
            var port = new SignalPort();
            host._signalPorts[channel.ChannelId] = port;
            host._ports.RegisterEventPort(channel.ConnectionId, port);
        }

        public void OnRemoved(OfferedChannel channel)
        {
            host._ports.UnregisterEventPort(channel.ConnectionId);
            host._signalPorts.Remove(channel.ChannelId);
        }

        public bool TryOpen(OfferedChannel channel, Gpadl rings, in OpenChannel request)
        {
            if (!host.TryOpenRings(channel, rings, in request, restored: false, out var open))
            {
                return false;
            }

            _opening = open;
            return true;
        }

        public void Start(OfferedChannel channel)
        {
            var open = _opening!;
            _opening = null;
            host.Install(open, paused: !host._running);
        }

        public void Close(OfferedChannel channel) => host._open[channel.ChannelId].Close();

        public void Retarget(OfferedChannel channel)
        {
            // A signal on its way to the old processor is taken there; from here on the new one gets them. One more covers the gap.
            host.SignalGuest(channel);
        }

        public void OnViolation(string what) => host.OnViolation(what);
    }

    private void Install(HostChannel open, bool paused)
    {
        _open[open.ChannelId] = open;
        _signalPorts[open.ChannelId].Open = open;
        if (open.SignalFile is { } file)
        {
            _ports.TryBindEventPort(open.Channel.ConnectionId, file);
        }

        open.Start(paused);
    }
}
