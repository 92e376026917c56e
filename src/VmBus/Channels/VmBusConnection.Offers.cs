using System.Runtime.InteropServices;
using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <content>Offers, sub-channels and their rescission.</content>
public sealed partial class VmBusConnection
{
    /// <summary>Adds a primary channel and offers it when a guest has asked for offers.</summary>
    /// <param name="offer">What the guest sees.</param>
    /// <param name="owner">Kept as <see cref="OfferedChannel.Owner"/>, also of its sub-channels.</param>
    /// <exception cref="InvalidOperationException">No relid is free, or the same class and instance is offered already.</exception>
    public OfferedChannel Offer(VmBusOffer offer, object? owner = null)
    {
        foreach (var other in _channels.Values)
        {
            if (other.Offer.InterfaceType == offer.InterfaceType && other.Offer.InstanceId == offer.InstanceId && !other.IsRescinded)
            {
                throw new InvalidOperationException($"{offer.Name}: instance {offer.InstanceId} is offered already; give it an id of its own.");
            }
        }

        return Add(offer, 0, null, owner) ?? throw new InvalidOperationException($"{offer.Name}: all {MaximumChannelId} channels are in use.");
    }

    /// <summary>
    /// Offers sub-channels 1 to <paramref name="count"/> of a primary channel that is open, less those that exist and
    /// within <see cref="VmBusOffer.MaximumSubChannels"/>.
    /// </summary>
    public void OfferSubChannels(OfferedChannel primary, int count)
    {
        if (primary.State != ChannelState.Open || primary.IsRescinded || primary.Parent is not null)
        {
            return;
        }

        for (var index = 1; index <= Math.Min(count, primary.Offer.MaximumSubChannels); index++)
        {
            if (!_channels.Values.Any(channel => channel.Parent == primary && channel.SubChannelIndex == index && !channel.IsRescinded))
            {
                Add(primary.Offer, (ushort)index, primary, primary.Owner);
            }
        }
    }

    /// <summary>Takes an offer back, with its sub-channels.</summary>
    public void Rescind(OfferedChannel channel)
    {
        RescindSubChannels(channel);
        if (channel.IsRescinded || !_channels.ContainsKey(channel.ChannelId))
        {
            return;
        }

        channel.IsRescinded = true;
        channel.PendingOpen = null;
        BeginClose(channel);
        if (channel.IsAnnounced)
        {
            Send(new RescindChannelOffer(channel.ChannelId));
        }
        else
        {
            RemoveIfDone(channel);
        }
    }

    private void RescindSubChannels(OfferedChannel primary)
    {
        foreach (var channel in _channels.Values.Where(channel => channel.Parent == primary).ToArray())
        {
            Rescind(channel);
        }
    }

    private OfferedChannel? Add(VmBusOffer offer, ushort subChannelIndex, OfferedChannel? parent, object? owner)
    {
        if (!TryTakeChannelId(out var channelId))
        {
            return null;
        }

        var channel = new OfferedChannel(offer, channelId, subChannelIndex, parent, owner);
        _channels.Add(channelId, channel);
        _actions.OnAdded(channel);
        if (_offersRequested)
        {
            Announce(channel);
        }

        return channel;
    }

    // Numbers go round, so that one the guest has just released is not the next to be used.
    private bool TryTakeChannelId(out uint channelId)
    {
        channelId = _lastChannelId;
        for (var i = 0u; i < MaximumChannelId; i++)
        {
            channelId = (channelId % MaximumChannelId) + 1;
            if (!_channels.ContainsKey(channelId))
            {
                _lastChannelId = channelId;
                return true;
            }
        }

        return false;
    }

    private void OnRequestOffers()
    {
        _offersRequested = true;
        foreach (var channel in _channels.Values)
        {
            if (!channel.IsAnnounced && !channel.IsRescinded)
            {
                Announce(channel);
            }
        }

        SendHeaderOnly(ChannelMessageType.AllOffersDelivered);
    }

    private void Announce(OfferedChannel channel)
    {
        channel.IsAnnounced = true;
        var offer = channel.Offer;
        var userDefined = default(UserDefinedData);
        Span<byte> bytes = userDefined;
        var flags = offer.Flags;
        if (offer.PipeMode is { } mode)
        {
            flags |= VmBusOfferFlags.NamedPipeMode;
            MemoryMarshal.Write(bytes, in mode);
            bytes = bytes[4..];
        }

        offer.UserDefined.Span[..Math.Min(offer.UserDefined.Length, bytes.Length)].CopyTo(bytes);
        Send(new OfferChannel
        {
            InterfaceType = offer.InterfaceType,
            InstanceId = offer.InstanceId,
            Flags = flags,
            MmioMegabytes = offer.MmioMegabytes,
            UserDefined = userDefined,
            SubChannelIndex = channel.SubChannelIndex,
            ChannelId = channel.ChannelId,
            IsDedicatedInterrupt = 1,
            ConnectionId = channel.ConnectionId,
        });
    }

    private void OnRelIdReleased(in RelIdReleased released)
    {
        var channel = Find(released.ChannelId);
        if (channel is null || !channel.IsRescinded)
        {
            _actions.OnViolation($"Release of channel {released.ChannelId}, which is not rescinded, was dropped.");
            return;
        }

        channel.IsReleased = true;
        RemoveIfDone(channel);
    }

    private void RemoveIfDone(OfferedChannel channel)
    {
        if (channel.State == ChannelState.Closed && channel.IsRescinded && (channel.IsReleased || !channel.IsAnnounced))
        {
            Remove(channel);
        }
    }

    private void Remove(OfferedChannel channel)
    {
        _gpadls.RemoveChannel(channel.ChannelId);
        _channels.Remove(channel.ChannelId);
        _actions.OnRemoved(channel);
    }
}
