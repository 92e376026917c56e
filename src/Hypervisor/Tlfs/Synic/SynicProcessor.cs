using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Hypervisor.Vid;

namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>The synthetic interrupt controller of one virtual processor (TLFS, "Synthetic Interrupt Controller").</summary>
/// <remarks>
/// Thread-safe. The lock guards registers and queues and is never held while an interrupt is raised. Signalling an event
/// takes no lock: it reads registers that change with single writes.
/// </remarks>
internal sealed partial class SynicProcessor : IInspectable
{
    internal const int TimerCount = 4;
    private const ulong ControlEnable = 1;

    private readonly GpaSpace _gpa;
    private readonly VmClock _clock;
    private readonly ISynicInterruptSink _sink;
    private readonly int _vpIndex;
    private readonly Lock _gate = new();
    private readonly ulong[] _sints = new ulong[ISynicPorts.SintCount];
    private readonly Queue<SynicMessage>[] _queues = new Queue<SynicMessage>[ISynicPorts.SintCount];
    private readonly TimerMessage[] _timerMessages = new TimerMessage[TimerCount];
    private ulong _control;
    private ulong _siefp;
    private ulong _simp;
    private bool _running;
    private long _messagesSent;
    private long _eventsSent;
    private long _eventsDropped;

    internal SynicProcessor(GpaSpace gpa, VmClock clock, ISynicInterruptSink sink, int vpIndex)
    {
        _gpa = gpa;
        _clock = clock;
        _sink = sink;
        _vpIndex = vpIndex;
        for (var i = 0; i < _queues.Length; i++)
        {
            _queues[i] = new Queue<SynicMessage>();
        }

        Reset();
    }

    internal ulong Control => Volatile.Read(ref _control);

    internal ulong Siefp => Volatile.Read(ref _siefp);

    internal ulong Simp => Volatile.Read(ref _simp);

    internal ulong ReadSint(int sint) => Volatile.Read(ref _sints[sint]);

    internal void WriteControl(ulong value)
    {
        lock (_gate)
        {
            Volatile.Write(ref _control, value);
        }

        DeliverAll();
    }

    /// <summary>Places the event flags page; false when it is not writable memory.</summary>
    internal bool TryWriteSiefp(ulong value) => TryPlacePage(ref _siefp, value);

    /// <summary>Places the message page; false when it is not writable memory.</summary>
    internal bool TryWriteSimp(ulong value)
    {
        if (!TryPlacePage(ref _simp, value))
        {
            return false;
        }

        DeliverAll();
        return true;
    }

    /// <summary>Writes a SINT; false when it would interrupt with an exception's vector.</summary>
    internal bool TryWriteSint(int sint, ulong value)
    {
        if (!new SintValue(value).IsValid)
        {
            return false;
        }

        lock (_gate)
        {
            Volatile.Write(ref _sints[sint], value);
        }

        Deliver(sint);
        return true;
    }

    /// <summary>The guest has freed message slots that had the pending flag set.</summary>
    internal void EndOfMessage() => DeliverAll();

    internal bool TryPostMessage(int sint, in SynicMessage message)
    {
        lock (_gate)
        {
            if (_queues[sint].Count >= ISynicPorts.MessageQueueLimit)
            {
                return false;
            }

            _queues[sint].Enqueue(message);
        }

        Deliver(sint);
        return true;
    }

    internal int GetQueuedMessageCount(int sint)
    {
        lock (_gate)
        {
            return _queues[sint].Count;
        }
    }

    internal void DiscardMessages(int sint)
    {
        lock (_gate)
        {
            _queues[sint].Clear();
        }
    }

    /// <summary>Sends a timer's message as soon as its slot is free; a message of this timer still waiting is replaced.</summary>
    internal void PostTimerMessage(int timer, int sint, ulong expiration)
    {
        lock (_gate)
        {
            _timerMessages[timer] = new TimerMessage(true, sint, expiration);
        }

        Deliver(sint);
    }

    internal bool IsTimerMessageWaiting(int timer)
    {
        lock (_gate)
        {
            return _timerMessages[timer].IsWaiting;
        }
    }

    internal void CancelTimerMessage(int timer)
    {
        lock (_gate)
        {
            _timerMessages[timer] = default;
        }
    }

    internal bool TrySignalEvent(int sint, int flag)
    {
        var siefp = Siefp;
        var source = new SintValue(ReadSint(sint));
        if (!Volatile.Read(ref _running) || (Control & ControlEnable) == 0 || (siefp & SyntheticMsr.PageEnable) == 0 || source.IsMasked)
        {
            Interlocked.Increment(ref _eventsDropped);
            return false;
        }

        var address = (siefp & SyntheticMsr.PageAddress) + (ulong)((sint * ISynicPorts.EventFlagCount / 8) + (flag / 64 * 8));
        if (!GuestPage.TryGet(_gpa, address, sizeof(ulong), out var bytes))
        {
            Interlocked.Increment(ref _eventsDropped);
            return false;
        }

        // A flag that is still set has an interrupt on its way, or a guest that is about to see it.
        var bit = 1UL << (flag % 64);
        if ((Interlocked.Or(ref MemoryMarshal.AsRef<ulong>(bytes), bit) & bit) == 0)
        {
            _gpa.NotifyWritten(address, sizeof(ulong));
            Interlocked.Increment(ref _eventsSent);
            Raise(source);
        }

        return true;
    }

    internal void Start()
    {
        lock (_gate)
        {
            Volatile.Write(ref _running, true);
        }

        DeliverAll();
    }

    internal void Stop()
    {
        lock (_gate)
        {
            Volatile.Write(ref _running, false);
        }
    }

    internal void Reset()
    {
        lock (_gate)
        {
            Volatile.Write(ref _control, 0);
            Volatile.Write(ref _siefp, 0);
            Volatile.Write(ref _simp, 0);
            Array.Fill(_sints, SintValue.ResetValue);
            Array.Clear(_timerMessages);
            foreach (var queue in _queues)
            {
                queue.Clear();
            }
        }
    }

    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Hex("control", _control).Hex("siefp", _siefp).Hex("simp", _simp);
            node.Value("messagesSent", _messagesSent).Value("eventsSent", Interlocked.Read(ref _eventsSent))
                .Value("eventsDropped", Interlocked.Read(ref _eventsDropped));
            for (var i = 0; i < _sints.Length; i++)
            {
                if (_sints[i] != SintValue.ResetValue || _queues[i].Count > 0)
                {
                    node.Child("sint" + i).Hex("register", _sints[i]).Value("queuedMessages", _queues[i].Count);
                }
            }
        }
    }

    private bool TryPlacePage(ref ulong register, ulong value)
    {
        lock (_gate)
        {
            // The page appears cleared; a rewrite that does not move it leaves its content alone.
            var enabled = (value & SyntheticMsr.PageEnable) != 0;
            var same = ((register ^ value) & (SyntheticMsr.PageAddress | SyntheticMsr.PageEnable)) == 0;
            if (enabled && !same && !GuestPage.TryClear(_gpa, value & SyntheticMsr.PageAddress))
            {
                return false;
            }

            Volatile.Write(ref register, value);
            return true;
        }
    }

    private void DeliverAll()
    {
        uint waiting = 0;
        lock (_gate)
        {
            for (var i = 0; i < _queues.Length; i++)
            {
                waiting |= _queues[i].Count > 0 ? 1u << i : 0;
            }

            foreach (var message in _timerMessages)
            {
                waiting |= message.IsWaiting ? 1u << message.Sint : 0;
            }
        }

        while (waiting != 0)
        {
            Deliver(BitOperations.TrailingZeroCount(waiting));
            waiting &= waiting - 1;
        }
    }

    private void Deliver(int sint)
    {
        SintValue source;
        lock (_gate)
        {
            if (!TryDeliver(sint, out source))
            {
                return;
            }
        }

        Raise(source);
    }

    private bool TryDeliver(int sint, out SintValue source)
    {
        source = new SintValue(_sints[sint]);
        var timer = FindTimerMessage(sint);
        var queue = _queues[sint];
        if ((timer < 0 && queue.Count == 0) || !_running || (_control & ControlEnable) == 0 || (_simp & SyntheticMsr.PageEnable) == 0
            || source.IsMasked)
        {
            return false;
        }

        var address = (_simp & SyntheticMsr.PageAddress) + (ulong)(sint * SynicMessage.SlotSize);
        if (!GuestPage.TryGet(_gpa, address, SynicMessage.SlotSize, out var slot))
        {
            return false;
        }

        ref var type = ref MemoryMarshal.AsRef<uint>(slot);
        if (Volatile.Read(ref type) != 0)
        {
            // The guest clears the type first and looks at the flag afterwards. If the slot is still taken once the flag
            // is set, the guest will see the flag and end the message; if not, it may have missed the flag and nobody
            // would ever call again, so the slot is filled now.
            Interlocked.Or(ref MemoryMarshal.AsRef<uint>(slot[SynicMessage.SizeOffset..]), SynicMessage.PendingFlag);
            _gpa.NotifyWritten(address, SynicMessage.PayloadOffset);
            if (Volatile.Read(ref type) != 0)
            {
                return false;
            }
        }

        if (timer >= 0)
        {
            var message = SynicMessage.ForTimer(timer, _timerMessages[timer].Expiration, _clock.ReferenceTime);
            _timerMessages[timer] = default;
            Write(slot, message, more: queue.Count > 0 || FindTimerMessage(sint) >= 0);
        }
        else
        {
            Write(slot, queue.Dequeue(), more: queue.Count > 0);
        }

        _gpa.NotifyWritten(address, SynicMessage.SlotSize);
        _messagesSent++;
        return true;
    }

    private static void Write(Span<byte> slot, in SynicMessage message, bool more)
    {
        message.Payload.CopyTo(slot[SynicMessage.PayloadOffset..]);
        BinaryPrimitives.WriteUInt64LittleEndian(slot[SynicMessage.SenderOffset..], message.Sender);
        var sizeAndFlags = message.Size | (more ? SynicMessage.PendingFlag : 0);
        BinaryPrimitives.WriteUInt32LittleEndian(slot[SynicMessage.SizeOffset..], sizeAndFlags);

        // The type makes the slot the guest's, so it is written last.
        Volatile.Write(ref MemoryMarshal.AsRef<uint>(slot), message.Type);
    }

    private int FindTimerMessage(int sint)
    {
        for (var i = 0; i < _timerMessages.Length; i++)
        {
            if (_timerMessages[i].IsWaiting && _timerMessages[i].Sint == sint)
            {
                return i;
            }
        }

        return -1;
    }

    private void Raise(SintValue source)
    {
        if (!source.IsPolled)
        {
            _sink.Raise(_vpIndex, source.Vector, source.AutoEoi);
        }
    }

    private readonly record struct TimerMessage(bool IsWaiting, int Sint, ulong Expiration);
}
