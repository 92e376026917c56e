using Vitro.Foundation;
using Vitro.VmBus;

namespace Vitro.Vsp.Keyboard;

/// <summary>The synthetic keyboard: keystrokes and typed text for the guest.</summary>
/// <remarks>Keys may be sent from any thread. They wait, in order and in a bounded queue, until the guest's driver is there.</remarks>
public sealed partial class KeyboardService : IVmBusService, IVirtualDevice
{
    /// <summary>Keystrokes that wait at most; more are refused.</summary>
    public const int QueueLimit = 16384;

    private readonly Lock _gate = new();
    private readonly Queue<Keystroke> _queue = new();
    private IVmBusChannel? _channel;
    private bool _accepted;
    private bool _running;
    private ushort _leds;
    private long _sent;
    private long _malformed;

    /// <inheritdoc/>
    public VmBusOffer Offer { get; } = new()
    {
        Name = "keyboard",
        InterfaceType = VmBusClass.Keyboard,
        InstanceId = new Guid("d34b2567-b9b6-42b9-8778-0a4ec0b955bf"),
    };

    /// <inheritdoc/>
    public string Name => Offer.Name;

    /// <summary>Whether the guest's driver takes keys now.</summary>
    public bool IsConnected
    {
        get
        {
            lock (_gate)
            {
                return _accepted;
            }
        }
    }

    /// <summary>Presses or releases a key; false when the queue is full.</summary>
    public bool TrySend(Keystroke keystroke) => TrySend([keystroke]);

    /// <summary>Sends keystrokes in order, all or none; false when the queue has no room for them.</summary>
    public bool TrySend(ReadOnlySpan<Keystroke> keystrokes)
    {
        IVmBusChannel? channel;
        lock (_gate)
        {
            if (keystrokes.Length > QueueLimit - _queue.Count)
            {
                return false;
            }

            foreach (var keystroke in keystrokes)
            {
                _queue.Enqueue(keystroke);
            }

            channel = _running ? _channel : null;
        }

        channel?.Wake();
        return true;
    }

    /// <summary>
    /// Types text on a US keyboard, all or nothing. False when the queue has no room for it or a character has no key.
    /// </summary>
    public bool TryType(string text)
    {
        var keystrokes = new List<Keystroke>(text.Length * 2);
        foreach (var character in text)
        {
            if (!UsLayout.TryType(character, keystrokes))
            {
                return false;
            }
        }

        return TrySend(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(keystrokes));
    }

    /// <summary>Presses keys in order and releases them in reverse: a chord like control, alt, delete.</summary>
    public bool TryPressChord(params ReadOnlySpan<ScanCode> keys)
    {
        Span<Keystroke> keystrokes = new Keystroke[keys.Length * 2];
        for (var i = 0; i < keys.Length; i++)
        {
            keystrokes[i] = new Keystroke(keys[i], IsRelease: false);
            keystrokes[^(i + 1)] = new Keystroke(keys[i], IsRelease: true);
        }

        return TrySend(keystrokes);
    }

    /// <inheritdoc/>
    public void OnOpened(IVmBusChannel channel)
    {
        lock (_gate)
        {
            _channel = channel;
            _accepted &= channel.IsRestored;
        }

        OnSignalled(channel);
    }

    /// <inheritdoc/>
    public void OnSignalled(IVmBusChannel channel)
    {
        while (channel.TryReceive(out var packet))
        {
            if (packet.Type != VmBusPacketType.InBand || !TryHandle(channel, packet.Payload))
            {
                Interlocked.Increment(ref _malformed);
            }
        }

        SendQueued(channel);
    }

    /// <inheritdoc/>
    public void OnClosed(IVmBusChannel channel)
    {
        lock (_gate)
        {
            _channel = null;
            Forget();
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        IVmBusChannel? channel;
        lock (_gate)
        {
            _running = true;
            channel = _channel;
        }

        channel?.Wake();
    }

    /// <inheritdoc/>
    public ValueTask StopAsync()
    {
        lock (_gate)
        {
            _running = false;
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            Forget();
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("connected", _accepted).Value("queued", _queue.Count).Value("sent", _sent).Hex("leds", _leds)
                .Value("malformed", Interlocked.Read(ref _malformed));
        }
    }

    private void Forget()
    {
        _queue.Clear();
        _accepted = false;
        _leds = 0;
    }

    private bool TryHandle(IVmBusChannel channel, ReadOnlySpan<byte> payload)
    {
        if (!KeyboardMessage.TryReadType(payload, out var type))
        {
            return false;
        }

        switch (type)
        {
            case KeyboardMessageType.ProtocolRequest when KeyboardMessage.TryReadRequest(payload, out var version):
                var accepted = version == KeyboardMessage.Version;
                lock (_gate)
                {
                    _accepted = accepted;
                }

                Span<byte> response = stackalloc byte[KeyboardMessage.ResponseSize];
                KeyboardMessage.WriteResponse(response, accepted);

                // A full ring holds answers already that the guest has not read; it needs no further one.
                channel.TrySend(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, response);
                return true;
            case KeyboardMessageType.LedIndicators when KeyboardMessage.TryReadIndicators(payload, out var leds):
                lock (_gate)
                {
                    _leds = leds;
                }

                return true;
            default:
                return false;
        }
    }

    private void SendQueued(IVmBusChannel channel)
    {
        Span<byte> message = stackalloc byte[KeyboardMessage.KeystrokeSize];
        channel.BeginBatch();
        while (true)
        {
            Keystroke next;
            lock (_gate)
            {
                if (!_accepted || !_queue.TryPeek(out next))
                {
                    break;
                }
            }

            KeyboardMessage.WriteKeystroke(message, next);
            if (!channel.TrySend(VmBusPacketType.InBand, VmBusPacketFlags.None, 0, message))
            {
                break;
            }

            // A reset may have emptied the queue meanwhile; nobody else takes from it.
            lock (_gate)
            {
                _queue.TryDequeue(out _);
                _sent++;
            }
        }

        channel.EndBatch();
    }
}
