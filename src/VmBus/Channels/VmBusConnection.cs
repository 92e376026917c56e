using System.Diagnostics.CodeAnalysis;
using Vitro.VmBus.Protocol;

namespace Vitro.VmBus.Channels;

/// <summary>
/// The host's end of the VMBus connection as a state machine without I/O: guest messages and host commands go in,
/// <see cref="IConnectionActions"/> come out. Guest drivers: drivers/hv/connection.c, channel_mgmt.c and channel.c.
/// </summary>
/// <remarks>
/// Not thread-safe: the owner makes one call at a time. Whatever a guest waits for without a time-out is answered, also
/// when it is refused. Closing is asynchronous: answers that need the service's release (a torn-down ring, an unload, a
/// new contact) are held until it comes.
/// </remarks>
public sealed partial class VmBusConnection
{
    /// <summary>Largest relid; relid 0 is not used.</summary>
    public const uint MaximumChannelId = 2047;

    /// <summary>Where guests below 5.0 post their messages.</summary>
    public const uint LegacyMessageConnectionId = 1;

    /// <summary>Where guests from 5.0 post their messages.</summary>
    public const uint MessageConnectionId = 4;

    /// <summary>Signal ports of channels count up from here by relid.</summary>
    public const uint FirstChannelConnectionId = 0x2000;

    /// <summary>The SINT of guests that cannot name another.</summary>
    public const byte DefaultSint = 2;

    private const uint StatusUnsuccessful = 0xC000_0001;
    private const uint StatusInvalidParameter = 0xC000_000D;

    private readonly IConnectionActions _actions;
    private readonly int _virtualProcessorCount;
    private readonly SortedDictionary<uint, OfferedChannel> _channels = [];
    private readonly GpadlTable _gpadls = new();
    private InitiateContact? _pendingContact;
    private bool _pendingUnload;
    private bool _offersRequested;
    private uint _lastChannelId;

    /// <summary>Creates a connection with no guest.</summary>
    public VmBusConnection(IConnectionActions actions, int virtualProcessorCount)
    {
        _actions = actions;
        _virtualProcessorCount = virtualProcessorCount;
    }

    /// <summary>The version agreed on; null while no guest is connected.</summary>
    public VmBusVersion? Version { get; private set; }

    /// <summary>The processor that takes the host's messages.</summary>
    public int MessageTargetVp { get; private set; }

    /// <summary>The SINT that takes the host's messages and the channels' interrupts.</summary>
    public int MessageTargetSint { get; private set; } = DefaultSint;

    /// <summary>All channels by relid, rescinded ones included until the guest has released them.</summary>
    public IReadOnlyCollection<OfferedChannel> Channels => _channels.Values;

    /// <summary>GPADLs that stand.</summary>
    public int GpadlCount => _gpadls.Count;

    /// <summary>Pages the guest has announced in GPADLs.</summary>
    public int GpadlPageCount => _gpadls.PageCount;

    private bool IsResetting => _pendingUnload || _pendingContact is not null;

    /// <summary>Finds a channel.</summary>
    public OfferedChannel? Find(uint channelId) => _channels.GetValueOrDefault(channelId);

    /// <summary>Finds a GPADL of a channel. Thread-safe.</summary>
    public bool TryGetGpadl(uint channelId, uint handle, [MaybeNullWhen(false)] out Gpadl gpadl) =>
        _gpadls.TryGet(channelId, handle, out gpadl);

    /// <summary>Takes a message from the guest. Whatever it holds, the connection stays sound.</summary>
    public void OnMessage(ReadOnlySpan<byte> message)
    {
        if (!ChannelMessage.TryReadType(message, out var type))
        {
            _actions.OnViolation("A message shorter than its header was dropped.");
            return;
        }

        if (type == ChannelMessageType.InitiateContact)
        {
            OnInitiateContact(message);
            return;
        }

        if (type == ChannelMessageType.Unload)
        {
            OnUnload();
            return;
        }

        if (Version is null || IsResetting)
        {
            _actions.OnViolation($"Message {type} without a connection was dropped.");
            return;
        }

        switch (type)
        {
            case ChannelMessageType.RequestOffers:
                OnRequestOffers();
                break;
            case ChannelMessageType.OpenChannel:
                Dispatch<OpenChannel>(message, OnOpenChannel);
                break;
            case ChannelMessageType.CloseChannel:
                Dispatch<CloseChannel>(message, OnCloseChannel);
                break;
            case ChannelMessageType.GpadlHeader:
                OnGpadlHeader(message);
                break;
            case ChannelMessageType.GpadlBody:
                OnGpadlBody(message);
                break;
            case ChannelMessageType.GpadlTeardown:
                Dispatch<GpadlTeardown>(message, OnGpadlTeardown);
                break;
            case ChannelMessageType.RelIdReleased:
                Dispatch<RelIdReleased>(message, OnRelIdReleased);
                break;
            case ChannelMessageType.ModifyChannel:
                Dispatch<ModifyChannel>(message, OnModifyChannel);
                break;
            case ChannelMessageType.TlConnectRequest:
                Dispatch<TlConnectRequest>(message, OnTlConnectRequest);
                break;
            default:
                _actions.OnViolation($"Message of unknown type {(uint)type} was dropped.");
                break;
        }
    }

    private void Dispatch<T>(ReadOnlySpan<byte> message, MessageHandler<T> handler)
        where T : unmanaged, IChannelMessageBody
    {
        if (ChannelMessage.TryReadBody<T>(message, out var body))
        {
            handler(in body);
        }
        else
        {
            _actions.OnViolation($"Message {T.Type} of {message.Length} bytes is too short and was dropped.");
        }
    }

    private delegate void MessageHandler<T>(in T body);

    private void OnInitiateContact(ReadOnlySpan<byte> message)
    {
        if (!ChannelMessage.TryReadBody<InitiateContact>(message, out var contact))
        {
            _actions.OnViolation("A contact request that is too short was dropped.");
            return;
        }

        // A new contact ends the old connection: the kernel that made it may be gone (kexec, firmware handing over).
        _pendingContact = contact;
        _pendingUnload = false;
        BeginReset();
    }

    private void OnUnload()
    {
        if (_pendingContact is not null)
        {
            _pendingContact = null;
        }

        _pendingUnload = true;
        BeginReset();
    }

    /// <summary>Ends the connection as a machine reset does: nothing is answered. Channels close asynchronously.</summary>
    public void Disconnect()
    {
        _pendingContact = null;
        _pendingUnload = false;
        Version = null;
        CloseAll();
        FinishResetIfQuiet();
    }

    private void BeginReset()
    {
        Version = null;
        CloseAll();
        FinishResetIfQuiet();
    }

    private void CloseAll()
    {
        _offersRequested = false;
        foreach (var channel in _channels.Values)
        {
            channel.PendingOpen = null;
            channel.PendingTeardowns.Clear();
            channel.IsAnnounced = false;
            BeginClose(channel);
        }
    }

    private void FinishResetIfQuiet()
    {
        if (Version is not null || _channels.Values.Any(channel => channel.State != ChannelState.Closed))
        {
            return;
        }

        // The guest has forgotten everything, so relids need no release any more.
        _gpadls.Clear();
        foreach (var channel in _channels.Values.Where(channel => channel.IsRescinded || channel.Parent is not null).ToArray())
        {
            Remove(channel);
        }

        if (_pendingUnload)
        {
            _pendingUnload = false;
            _actions.DiscardMessages();
            SendHeaderOnly(ChannelMessageType.UnloadResponse);
        }
        else if (_pendingContact is { } contact)
        {
            _pendingContact = null;
            _actions.DiscardMessages();
            Connect(contact);
        }
    }

    private void Connect(in InitiateContact contact)
    {
        var named = contact.Version >= VmBusVersion.V5_0;
        MessageTargetVp = contact.TargetVp < (uint)_virtualProcessorCount ? (int)contact.TargetVp : 0;
        MessageTargetSint = named && contact.Sint is > 0 and < 16 ? contact.Sint : DefaultSint;
        if (!contact.Version.IsSupported)
        {
            Send(new VersionResponse(0, 0, 0, MessageConnectionId));
            return;
        }

        Version = contact.Version;
        Send(new VersionResponse(1, 0, 0, named ? MessageConnectionId : LegacyMessageConnectionId));
    }

    private void OnTlConnectRequest(in TlConnectRequest request) =>
        Send(new TlConnectResult(request.GuestEndpointId, request.HostServiceId, TlConnectResult.ConnectionRefused));

    private void Send<T>(in T body)
        where T : unmanaged, IChannelMessageBody
    {
        Span<byte> message = stackalloc byte[ChannelMessage.MaximumSize];
        var size = ChannelMessage.Write(message, in body);
        _actions.Send(message[..size]);
    }

    private void SendHeaderOnly(ChannelMessageType type)
    {
        Span<byte> message = stackalloc byte[ChannelMessage.HeaderSize];
        ChannelMessage.Write(message, type);
        _actions.Send(message);
    }
}
