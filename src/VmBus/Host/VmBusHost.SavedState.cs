using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs.Synic;
using Vitro.VmBus.Channels;

namespace Vitro.VmBus.Host;

/// <content>
/// Saved state: the connection, guest messages not yet looked at, and each open channel's backlog. Ring contents and
/// indexes are in guest memory; messages on their way to the guest are in the SynIC's state.
/// </content>
public sealed partial class VmBusHost
{
    private const ushort ConnectionTag = 1;
    private const ushort MessageTag = 2;
    private const ushort BacklogTag = 3;
    private const ushort BacklogChannelTag = 1;
    private const ushort BacklogBytesTag = 2;

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            writer.Group(ConnectionTag, _connection.Save);
            foreach (var message in _messages.ToList())
            {
                writer.Bytes(MessageTag, message);
            }

            foreach (var channel in _open.Values)
            {
                if (!channel.Backlog.IsEmpty)
                {
                    writer.Group(BacklogTag, group =>
                    {
                        group.UInt32(BacklogChannelTag, channel.ChannelId);
                        group.Bytes(BacklogBytesTag, channel.Backlog);
                    });
                }
            }
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        try
        {
            lock (_gate)
            {
                RestoreLocked(reader);
            }
        }
        catch (SavedStateException)
        {
            Reset(ResetKind.Cold);
            throw;
        }
    }

    private void RestoreLocked(SavedStateReader reader)
    {
        var opened = new List<HostChannel>();
        try
        {
            RestoreConnection(reader, opened);
        }
        finally
        {
            // Also after a failure: a channel is closed by its worker.
            foreach (var open in opened)
            {
                Install(open, paused: true);
            }
        }
    }

    private void RestoreConnection(SavedStateReader reader, List<HostChannel> opened)
    {
        _connection.Restore(reader.Group(ConnectionTag), (channel, rings) =>
        {
            var request = channel.OpenRequest;
            if (channel.Owner is null || !TryOpenRings(channel, rings, in request, restored: true, out var open))
            {
                return false;
            }

            _open[channel.ChannelId] = open;
            opened.Add(open);
            return true;
        });

        foreach (var channel in _connection.Channels)
        {
            if (channel.Parent is null && _offers.TryGetValue(channel.Offer.Name, out var handle) && !channel.IsRescinded)
            {
                handle.Channel = channel;
            }
        }

        foreach (var message in reader.AllBytes(MessageTag))
        {
            if (message.Length > ISynicPorts.MaxPayload || !_messages.TryAdd(message.Span))
            {
                throw new SavedStateException("Saved VMBus state has more guest messages than fit.");
            }
        }

        foreach (var group in reader.Groups(BacklogTag))
        {
            if (!_open.TryGetValue(group.UInt32(BacklogChannelTag), out var open) || !open.TryRestoreBacklog(group.Bytes(BacklogBytesTag)))
            {
                throw new SavedStateException("Saved VMBus state has a damaged backlog.");
            }
        }
    }
}
