using System.Runtime.InteropServices;
using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Vid;
using Vitro.VmBus.Channels;
using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Guest;

/// <summary>
/// The guest's side of VMBus as a test peer: connects, takes offers, shares memory and opens channels as a guest driver
/// does, over the same memory and ports as the host.
/// </summary>
/// <remarks>One thread. Every wait has a limit and ends in a <see cref="TimeoutException"/>, so that a test fails instead of hanging.</remarks>
public sealed class GuestBus
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly LoopbackPorts _ports;
    private readonly List<byte[]> _unclaimed = [];
    private readonly List<OfferChannel> _offers = [];
    private uint _messageConnection = VmBusConnection.MessageConnectionId;
    private uint _nextGpadl = 0xE1E10;
    private ulong _nextPage;

    /// <summary>Creates a guest that takes its pages from <paramref name="firstPage"/> up.</summary>
    public GuestBus(LoopbackPorts ports, GpaSpace memory, ulong firstPage = 16)
    {
        _ports = ports;
        Memory = memory;
        _nextPage = firstPage;
    }

    /// <summary>Guest memory.</summary>
    public GpaSpace Memory { get; }

    /// <summary>The ports, for malformed traffic.</summary>
    public LoopbackPorts Ports => _ports;

    /// <summary>Offers heard so far and not rescinded.</summary>
    public IReadOnlyList<OfferChannel> Offers => _offers;

    /// <summary>Relids of rescinded offers, in order.</summary>
    public List<uint> Rescinded { get; } = [];

    /// <summary>Takes fresh zeroed pages, neighbours of each other, and returns the first page number.</summary>
    public ulong AllocatePages(int count)
    {
        var first = _nextPage;
        _nextPage += (ulong)count;
        return _nextPage * GuestMemory.PageSize <= Memory.Ram.LowRamSize
            ? first
            : throw new InvalidOperationException("The test's guest memory is too small.");
    }

    /// <summary>Asks for a version; false when the host refuses it.</summary>
    public bool Connect(VmBusVersion version, uint targetVp = 0)
    {
        var named = version >= VmBusVersion.V5_0;
        _offers.Clear();
        Post(new InitiateContact(version, targetVp, named ? 2u : 0x1000u, 0, 0),
            named ? VmBusConnection.MessageConnectionId : VmBusConnection.LegacyMessageConnectionId);
        var response = Wait<VersionResponse>(static _ => true);
        _messageConnection = named ? response.MessageConnectionId : VmBusConnection.LegacyMessageConnectionId;
        return response.VersionSupported != 0;
    }

    /// <summary>Connects with the newest version and takes the offers.</summary>
    public IReadOnlyList<OfferChannel> ConnectAndEnumerate(VmBusVersion? version = null)
    {
        if (!Connect(version ?? VmBusVersion.V5_3))
        {
            throw new InvalidOperationException("The host refuses the version.");
        }

        return Enumerate();
    }

    /// <summary>Asks for the offers and waits for the last.</summary>
    public IReadOnlyList<OfferChannel> Enumerate()
    {
        PostHeader(ChannelMessageType.RequestOffers);
        WaitHeader(ChannelMessageType.AllOffersDelivered);
        return Offers;
    }

    /// <summary>Waits until the host has made <paramref name="count"/> offers in all.</summary>
    public IReadOnlyList<OfferChannel> WaitForOffers(int count)
    {
        while (_offers.Count < count)
        {
            TakeMessage();
        }

        return Offers;
    }

    /// <summary>Waits until the host rescinds an offer.</summary>
    public void WaitForRescind(uint channelId)
    {
        while (!Rescinded.Contains(channelId))
        {
            TakeMessage();
        }
    }

    /// <summary>Shares pages; returns the host's status and the handle.</summary>
    public uint CreateGpadl(uint channelId, ReadOnlySpan<ulong> pages, out uint handle)
    {
        handle = _nextGpadl++;
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        var size = ChannelMessage.Write(message, new GpadlHeader(channelId, handle, unchecked((ushort)(8 + (pages.Length * 8))), 1));
        MemoryMarshal.Write(message[size..], (uint)pages.Length * GuestMemory.PageSize);
        MemoryMarshal.Write(message[(size + 4)..], 0u);
        size += 8;
        var first = pages[..Math.Min(pages.Length, GpadlHeader.MaximumPages)];
        MemoryMarshal.AsBytes(first).CopyTo(message[size..]);
        Post(message[..(size + (first.Length * 8))]);
        for (var rest = pages[first.Length..]; !rest.IsEmpty;)
        {
            size = ChannelMessage.Write(message, new GpadlBody(0, handle));
            var part = rest[..Math.Min(rest.Length, GpadlBody.MaximumPages)];
            MemoryMarshal.AsBytes(part).CopyTo(message[size..]);
            Post(message[..(size + (part.Length * 8))]);
            rest = rest[part.Length..];
        }

        var wanted = handle;
        return Wait<GpadlCreated>(created => created.Handle == wanted).Status;
    }

    /// <summary>Tears a GPADL down and waits for the answer.</summary>
    public void TearDown(uint channelId, uint handle)
    {
        Post(new GpadlTeardown(channelId, handle));
        Wait<GpadlTorndown>(torn => torn.Handle == handle);
    }

    /// <summary>Opens a channel with fresh rings; pages of the rings are shuffled when <paramref name="scatter"/>.</summary>
    public GuestChannel Open(uint channelId, int pagesEachWay = 8, uint targetVp = 0, bool scatter = false, ReadOnlySpan<byte> userData = default)
    {
        var first = AllocatePages(pagesEachWay * 2);
        var pages = new ulong[pagesEachWay * 2];
        for (var i = 0; i < pages.Length; i++)
        {
            pages[i] = first + (ulong)(scatter ? pages.Length - 1 - i : i);
        }

        var status = CreateGpadl(channelId, pages, out var handle);
        if (status != 0)
        {
            throw new InvalidOperationException($"The host refuses the ring: 0x{status:x}.");
        }

        var channel = new GuestChannel(this, channelId, handle, pages, pagesEachWay, isResumed: false);
        status = TryOpen(channelId, handle, (uint)pagesEachWay, targetVp, userData);
        return status == 0 ? channel : throw new InvalidOperationException($"The host refuses to open the channel: 0x{status:x}.");
    }

    /// <summary>Goes on with a channel that was open when the machine was saved: its rings are as they were.</summary>
    /// <param name="channelId">The relid.</param>
    /// <param name="ringGpadl">GPADL of the rings.</param>
    /// <param name="pages">Page numbers of the rings, the guest's outgoing one first.</param>
    public GuestChannel Resume(uint channelId, uint ringGpadl, ReadOnlySpan<ulong> pages) =>
        new(this, channelId, ringGpadl, pages, pages.Length / 2, isResumed: true);

    /// <summary>Asks to open a channel; returns the host's status.</summary>
    public uint TryOpen(uint channelId, uint gpadl, uint downstreamPage, uint targetVp = 0, ReadOnlySpan<byte> userData = default)
    {
        var data = default(UserDefinedData);
        userData.CopyTo(data);
        Post(new OpenChannel
        {
            ChannelId = channelId,
            OpenId = channelId,
            RingGpadl = gpadl,
            TargetVp = targetVp,
            DownstreamPageOffset = downstreamPage,
            UserData = data,
        });
        return Wait<OpenChannelResult>(result => result.ChannelId == channelId).Status;
    }

    /// <summary>Closes a channel and takes its ring back.</summary>
    public void Close(GuestChannel channel)
    {
        Post(new CloseChannel(channel.ChannelId));
        TearDown(channel.ChannelId, channel.RingGpadl);
        channel.Detach();
    }

    /// <summary>Moves a channel's interrupt; returns the host's status.</summary>
    public uint Modify(uint channelId, uint targetVp)
    {
        Post(new ModifyChannel(channelId, targetVp));
        return Wait<ModifyChannelResponse>(response => response.ChannelId == channelId).Status;
    }

    /// <summary>Gives a rescinded channel's number back.</summary>
    public void Release(uint channelId)
    {
        Post(new RelIdReleased(channelId));
    }

    /// <summary>Disconnects.</summary>
    public void Unload()
    {
        PostHeader(ChannelMessageType.Unload);
        WaitHeader(ChannelMessageType.UnloadResponse);
        _offers.Clear();
    }

    /// <summary>Posts a message.</summary>
    public void Post<T>(in T body, uint? connectionId = null)
        where T : unmanaged, IChannelMessageBody
    {
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        Post(message[..ChannelMessage.Write(message, in body)], connectionId);
    }

    /// <summary>Posts a message, again and again while the host is full.</summary>
    public void Post(ReadOnlySpan<byte> message, uint? connectionId = null)
    {
        HypercallStatus status;
        while ((status = _ports.Post(connectionId ?? _messageConnection, message)) == HypercallStatus.InsufficientBuffers)
        {
            Thread.Yield();
        }

        if (status != HypercallStatus.Success)
        {
            throw new InvalidOperationException($"The host refuses the message: {status}.");
        }
    }

    /// <summary>Waits for a message that satisfies <paramref name="match"/>; others stay for later.</summary>
    public T Wait<T>(Func<T, bool> match)
        where T : unmanaged, IChannelMessageBody
    {
        var found = default(T);
        WaitUnclaimed(message => ChannelMessage.TryReadType(message, out var type) && type == T.Type
            && ChannelMessage.TryReadBody(message, out found) && match(found));
        return found;
    }

    private void PostHeader(ChannelMessageType type)
    {
        Span<byte> message = stackalloc byte[ChannelMessage.HeaderSize];
        ChannelMessage.Write(message, type);
        Post(message);
    }

    private void WaitHeader(ChannelMessageType wanted) =>
        WaitUnclaimed(message => ChannelMessage.TryReadType(message, out var type) && type == wanted);

    private void WaitUnclaimed(Predicate<byte[]> match)
    {
        int index;
        while ((index = _unclaimed.FindIndex(match)) < 0)
        {
            TakeMessage();
        }

        _unclaimed.RemoveAt(index);
    }

    // Offers and rescissions come at any time and are noted; the rest is an answer to somebody.
    private void TakeMessage()
    {
        var message = _ports.Take(Limit) ?? throw new TimeoutException("The host does not answer.");
        if (ChannelMessage.TryReadType(message, out var type) && type == ChannelMessageType.OfferChannel
            && ChannelMessage.TryReadBody<OfferChannel>(message, out var offer))
        {
            _offers.Add(offer);
        }
        else if (type == ChannelMessageType.RescindChannelOffer && ChannelMessage.TryReadBody<RescindChannelOffer>(message, out var rescind))
        {
            _offers.RemoveAll(known => known.ChannelId == rescind.ChannelId);
            Rescinded.Add(rescind.ChannelId);
        }
        else
        {
            _unclaimed.Add(message);
        }
    }
}
