using Vitro.Foundation;
using Vitro.VmBus;

namespace Vitro.Vsp.Integration;

/// <summary>How far a guest has come with an integration service.</summary>
public enum IcContact
{
    /// <summary>The guest has not opened the channel.</summary>
    None,

    /// <summary>The guest has been offered versions and has not answered: its driver or daemon may still be starting.</summary>
    Negotiating,

    /// <summary>Versions are agreed on; the service works.</summary>
    Ready,

    /// <summary>The guest wants none of the versions offered.</summary>
    Refused,
}

/// <summary>
/// What all integration services share: opening, version negotiation, framing, life cycle. Derived classes add the
/// messages of one service.
/// </summary>
/// <remarks>
/// The channel's callbacks run on the channel's own thread; everything sent goes out from there. Other threads leave
/// work in fields under <see cref="Gate"/> and call <see cref="Wake"/>.
/// </remarks>
public abstract partial class IntegrationService : IVmBusService, IVirtualDevice
{
    // The longest message is a shutdown request.
    private const int MaxPacket = IcHeader.Size + 2060;
    private static readonly IcVersion[] Frameworks = [new(1, 0), new(3, 0)];

    private readonly IcVersion[] _versions;
    private IVmBusChannel? _channel;
    private IcContact _contact;
    private IcVersion _framework;
    private IcVersion _version;
    private byte _transaction;
    private long _malformed;

    private protected IntegrationService(string name, Guid interfaceType, Guid instanceId, params IcVersion[] versions)
    {
        _versions = versions;
        Offer = new VmBusOffer
        {
            Name = name,
            InterfaceType = interfaceType,
            InstanceId = instanceId,
            PipeMode = VmBusPipeMode.Message,
        };
    }

    /// <inheritdoc/>
    public VmBusOffer Offer { get; }

    /// <inheritdoc/>
    public string Name => Offer.Name;

    /// <summary>Whether the guest takes part. Any thread.</summary>
    public IcContact Contact
    {
        get
        {
            lock (Gate)
            {
                return _contact;
            }
        }
    }

    /// <summary>The agreed version of the service's messages; 0.0 before. Any thread.</summary>
    public IcVersion Version
    {
        get
        {
            lock (Gate)
            {
                return _version;
            }
        }
    }

    private protected Lock Gate { get; } = new();

    /// <summary>Whether the device has been started. Read and written under <see cref="Gate"/>.</summary>
    private protected bool IsRunning { get; private set; }

    /// <inheritdoc/>
    public void OnOpened(IVmBusChannel channel)
    {
        bool negotiate;
        lock (Gate)
        {
            _channel = channel;
            negotiate = !channel.IsRestored || _contact == IcContact.None;
            if (negotiate)
            {
                _contact = IcContact.Negotiating;
            }
        }

        if (negotiate)
        {
            SendNegotiation(channel);
        }

        OnSignalled(channel);
    }

    /// <inheritdoc/>
    public void OnSignalled(IVmBusChannel channel)
    {
        while (channel.TryReceive(out var packet))
        {
            if (packet.Type != VmBusPacketType.InBand || !IcHeader.TryRead(packet.Payload, out var header))
            {
                Interlocked.Increment(ref _malformed);
                continue;
            }

            var body = packet.Payload[IcHeader.Size..];
            if (header.Type == IcMessageType.Negotiate)
            {
                OnNegotiated(body);
            }
            else if (Contact == IcContact.Ready && !OnResponse(header, body))
            {
                Interlocked.Increment(ref _malformed);
            }
        }

        if (Contact == IcContact.Ready)
        {
            OnWork(channel);
        }
    }

    /// <inheritdoc/>
    public void OnClosed(IVmBusChannel channel)
    {
        lock (Gate)
        {
            _channel = null;
            Forget();
        }

        OnContactLost();
    }

    /// <inheritdoc/>
    public void Start()
    {
        lock (Gate)
        {
            IsRunning = true;
        }

        OnStarted();
        Wake();
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        lock (Gate)
        {
            IsRunning = false;
        }

        OnStopped();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (Gate)
        {
            Forget();
        }

        OnContactLost();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        node.Value("contact", Contact.ToString()).Value("framework", _framework.ToString()).Value("version", Version.ToString())
            .Value("malformed", Interlocked.Read(ref _malformed));
        InspectService(node);
    }

    /// <summary>Versions were agreed on. Channel thread, no lock held; <see cref="OnWork"/> follows.</summary>
    private protected virtual void OnReady()
    {
        // Most services have nothing to prepare.
    }

    /// <summary>A message of the guest's other than negotiation; false when it is malformed. Channel thread, no lock held.</summary>
    private protected abstract bool OnResponse(in IcHeader header, ReadOnlySpan<byte> body);

    /// <summary>Send what is to be sent. Channel thread, no lock held.</summary>
    private protected abstract void OnWork(IVmBusChannel channel);

    /// <summary>The channel closed or the machine was reset. Any thread, no lock held.</summary>
    private protected abstract void OnContactLost();

    private protected virtual void OnStarted()
    {
        // Services without timers start with their channel.
    }

    private protected virtual void OnStopped()
    {
        // Services without timers stop with their channel.
    }

    private protected abstract void InspectService(InspectNode node);

    /// <summary>Makes the channel's thread call <see cref="OnWork"/>. Any thread, no lock held.</summary>
    private protected void Wake()
    {
        IVmBusChannel? channel;
        lock (Gate)
        {
            channel = IsRunning ? _channel : null;
        }

        channel?.Wake();
    }

    /// <summary>Sends a request; false when the ring is full because the guest does not read. Channel thread.</summary>
    private protected bool TrySendRequest(IVmBusChannel channel, IcMessageType type, ReadOnlySpan<byte> body)
    {
        Span<byte> packet = stackalloc byte[MaxPacket];
        packet = packet[..(IcHeader.Size + body.Length)];
        lock (Gate)
        {
            new IcHeader(_framework, type, _version, (ushort)body.Length, 0, ++_transaction, IcFlags.Transaction | IcFlags.Request).Write(packet);
        }

        body.CopyTo(packet[IcHeader.Size..]);
        return channel.TrySend(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, packet);
    }

    private void SendNegotiation(IVmBusChannel channel)
    {
        Span<byte> packet = stackalloc byte[IcHeader.Size + IcNegotiation.SizeOf(Frameworks.Length, _versions.Length)];
        var bodySize = (ushort)(packet.Length - IcHeader.Size);
        new IcHeader(default, IcMessageType.Negotiate, default, bodySize, 0, 0, IcFlags.Transaction | IcFlags.Request).Write(packet);
        IcNegotiation.Write(packet[IcHeader.Size..], Frameworks, _versions);
        channel.SendInBand(packet);
    }

    private void OnNegotiated(ReadOnlySpan<byte> body)
    {
        lock (Gate)
        {
            // One answer to one question: a guest cannot change versions later.
            if (_contact != IcContact.Negotiating)
            {
                return;
            }

            if (!IcNegotiation.TryReadChoice(body, out var framework, out var version) || !Frameworks.Contains(framework) || !_versions.Contains(version))
            {
                _contact = IcContact.Refused;
                return;
            }

            (_framework, _version, _contact) = (framework, version, IcContact.Ready);
        }

        OnReady();
    }

    private void Forget() => (_contact, _framework, _version, _transaction) = (IcContact.None, default, default, 0);
}
