using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <content>Saved state. A connection is saved while nothing closes; what guests have posted since is its owner's to keep.</content>
public sealed partial class VmBusConnection
{
    private const ushort VersionTag = 1;
    private const ushort MessageVpTag = 2;
    private const ushort MessageSintTag = 3;
    private const ushort OffersRequestedTag = 4;
    private const ushort LastChannelTag = 5;
    private const ushort ChannelTag = 6;
    private const ushort GpadlTag = 7;

    /// <summary>Writes the connection.</summary>
    /// <exception cref="InvalidOperationException">A channel is closing.</exception>
    public void Save(SavedStateWriter writer)
    {
        if (IsResetting || _channels.Values.Any(channel => channel.State == ChannelState.Closing))
        {
            throw new InvalidOperationException("A VMBus connection is saved when no channel is closing.");
        }

        writer.UInt32(VersionTag, Version?.Value ?? 0);
        writer.UInt32(MessageVpTag, (uint)MessageTargetVp);
        writer.UInt32(MessageSintTag, (uint)MessageTargetSint);
        writer.Bool(OffersRequestedTag, _offersRequested);
        writer.UInt32(LastChannelTag, _lastChannelId);
        foreach (var channel in _channels.Values)
        {
            writer.Group(ChannelTag, group => SavedChannel.Write(group, channel));
        }

        foreach (var (_, entry) in _gpadls.All)
        {
            writer.Group(GpadlTag, group => SavedGpadl.Write(group, entry.ChannelId, entry.Gpadl));
        }

        foreach (var assembly in _gpadls.Incomplete)
        {
            writer.Group(GpadlTag, group => SavedGpadl.Write(group, assembly));
        }
    }

    /// <summary>
    /// Takes a saved connection in place of this one, which must have no guest. Channels get their saved numbers;
    /// offers of this machine that the state does not know are offered as new. Channels that were open are opened by
    /// <paramref name="reopen"/> with their rings.
    /// </summary>
    /// <exception cref="SavedStateException">The state is damaged, or knows a service that this machine lacks.</exception>
    public void Restore(SavedStateReader reader, Func<OfferedChannel, Gpadl, bool> reopen)
    {
        var offers = _channels.Values.Where(channel => channel.Parent is null).ToDictionary(channel => channel.Offer.Name, StringComparer.Ordinal);
        foreach (var channel in _channels.Values.ToArray())
        {
            Remove(channel);
        }

        var version = reader.UInt32(VersionTag);
        Version = version == 0 ? null : new VmBusVersion(version);
        MessageTargetVp = (int)Math.Min(reader.UInt32(MessageVpTag), (uint)_virtualProcessorCount - 1);
        MessageTargetSint = (int)Math.Min(reader.UInt32(MessageSintTag, DefaultSint), 15);
        _offersRequested = reader.Bool(OffersRequestedTag);
        _lastChannelId = Math.Min(reader.UInt32(LastChannelTag), MaximumChannelId);
        foreach (var group in reader.Groups(GpadlTag))
        {
            SavedGpadl.Read(group, _gpadls);
        }

        foreach (var group in reader.Groups(ChannelTag))
        {
            RestoreChannel(group, offers, reopen);
        }

        foreach (var offer in offers.Values)
        {
            Offer(offer.Offer, offer.Owner);
        }
    }

    private void RestoreChannel(SavedStateReader group, Dictionary<string, OfferedChannel> offers, Func<OfferedChannel, Gpadl, bool> reopen)
    {
        var saved = SavedChannel.Read(group);
        if (saved.ChannelId is 0 or > MaximumChannelId || _channels.ContainsKey(saved.ChannelId))
        {
            throw new SavedStateException($"Saved VMBus state has no valid channel number: {saved.ChannelId}.");
        }

        OfferedChannel channel;
        if (saved.IsRescinded)
        {
            var gone = new VmBusOffer { Name = saved.Name, InterfaceType = saved.InterfaceType, InstanceId = saved.InstanceId };
            channel = new OfferedChannel(gone, saved.ChannelId, saved.SubChannelIndex, null, null);
        }
        else if (saved.ParentId != 0 && Find(saved.ParentId) is { } parent)
        {
            channel = new OfferedChannel(parent.Offer, saved.ChannelId, saved.SubChannelIndex, parent, parent.Owner);
        }
        else if (offers.Remove(saved.Name, out var offered))
        {
            channel = new OfferedChannel(offered.Offer, saved.ChannelId, 0, null, offered.Owner);
        }
        else
        {
            throw new SavedStateException($"Saved VMBus state has a service {saved.Name} that this machine does not offer.");
        }

        channel.IsAnnounced = saved.IsAnnounced;
        channel.IsRescinded = saved.IsRescinded;
        channel.TargetVp = Math.Min(saved.TargetVp, (uint)_virtualProcessorCount - 1);
        _channels.Add(channel.ChannelId, channel);
        _actions.OnAdded(channel);
        if (saved.OpenRequest.Length == 0)
        {
            return;
        }

        if (!MemoryMarshal.TryRead<OpenChannel>(saved.OpenRequest, out var request)
            || !_gpadls.TryGet(channel.ChannelId, request.RingGpadl, out var rings))
        {
            throw new SavedStateException($"Saved VMBus state has channel {saved.ChannelId} open without its rings.");
        }

        channel.OpenRequest = request;
        channel.State = ChannelState.Open;
        if (!reopen(channel, rings))
        {
            channel.State = ChannelState.Closed;
            throw new SavedStateException($"The rings of channel {saved.ChannelId} are not in guest memory.");
        }
    }
}
