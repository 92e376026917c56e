using Vitro.Foundation;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs.Synic;

namespace Vitro.Chipset;

/// <summary>Takes the ends of level-triggered interrupts that local APICs broadcast: an IO-APIC.</summary>
public interface IEndOfInterruptTarget
{
    /// <summary>A processor ended the level-triggered interrupt <paramref name="vector"/>. Called on its thread with no lock held.</summary>
    void OnEndOfInterrupt(byte vector);
}

/// <summary>
/// The local APICs of a machine and the way to them: messages from the IO-APIC, message-signalled interrupts,
/// inter-processor interrupts and the SynIC's interrupts.
/// </summary>
/// <remarks>Every sending member is thread-safe, holds no lock, does not block and does not allocate.</remarks>
public sealed class LocalApicBus : ISynicInterruptSink, ISyntheticApic
{
    private readonly LocalApic[] _apics;
    private IEndOfInterruptTarget? _endTarget;
    private Action<int, byte>? _endObserver;
    private int _arbitration;
    private IEngineLocalApics? _engine;

    /// <summary>Creates the local APICs, reset.</summary>
    /// <param name="clock">Drives the timers.</param>
    /// <param name="processorCount">1 to 64.</param>
    /// <param name="hasX2Apic">x2APIC mode can be entered (CPUID leaf 1 ECX bit 21 says the same).</param>
    /// <param name="tscToNanoseconds">
    /// Converts a time stamp counter value to the clock's nanoseconds and so offers TSC-deadline mode (CPUID leaf 1 ECX
    /// bit 24 says the same); null when it is not offered. Called on processor threads.
    /// </param>
    public LocalApicBus(VmClock clock, int processorCount, bool hasX2Apic = true, Func<ulong, long>? tscToNanoseconds = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(processorCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(processorCount, 64);
        _apics = new LocalApic[processorCount];
        for (var i = 0; i < processorCount; i++)
        {
            _apics[i] = new LocalApic(this, i, clock, hasX2Apic, tscToNanoseconds);
        }
    }

    /// <summary>The local APICs by processor index.</summary>
    public IReadOnlyList<LocalApic> Apics => _apics;

    /// <summary>Connects the processors, which exist only after their interrupt controllers do.</summary>
    public void AttachProcessors(IReadOnlyList<IVirtualProcessor> processors)
    {
        for (var i = 0; i < _apics.Length; i++)
        {
            _apics[i].Attach(processors[i]);
        }
    }

    /// <summary>
    /// From now on the engine's local APICs take every message; the ones here hold their registers between a reset or
    /// restore and the start, and while they are saved.
    /// </summary>
    internal void AttachEngine(IEngineLocalApics engine)
    {
        _engine = engine;
        engine.ConnectEndOfInterrupt(vector => _endTarget?.OnEndOfInterrupt(vector));
        foreach (var apic in _apics)
        {
            apic.AttachEngine(engine);
        }
    }

    /// <summary>Names the IO-APIC; before the machine starts.</summary>
    public void ConnectEndOfInterrupt(IEndOfInterruptTarget target) => _endTarget = target;

    /// <summary>Tells of every end of interrupt (processor index, vector), on the processor's thread; before the machine starts.</summary>
    public void ObserveEndOfInterrupt(Action<int, byte> observer) => _endObserver = observer;

    /// <summary>Wires the 8259 pair to LINT0 of processor 0 and returns what the pair calls when its output may have changed.</summary>
    public Action ConnectExternal(IExternalInterruptSource source)
    {
        _apics[0].ConnectExternal(source);
        return _apics[0].OnExternalChanged;
    }

    /// <summary>Sends a message; it reaches nobody when its destination names nobody.</summary>
    public void Send(in InterruptMessage message) => Send(message, DestinationShorthand.None, -1);

    /// <summary>Sends a message by its parts.</summary>
    /// <param name="destination">APIC id, logical destination, or <see cref="InterruptMessage.Broadcast"/>.</param>
    /// <param name="isLogical">The destination is logical.</param>
    /// <param name="vector">Vector.</param>
    /// <param name="delivery">Delivery mode.</param>
    /// <param name="isLevel">Level triggered.</param>
    public void Send(uint destination, bool isLogical, byte vector, DeliveryMode delivery = DeliveryMode.Fixed, bool isLevel = false) =>
        Send(new InterruptMessage(destination, isLogical, delivery, vector, isLevel));

    /// <summary>Sends a message-signalled interrupt; false when the address is not an interrupt address.</summary>
    public bool SendMsi(ulong address, uint data)
    {
        if (!InterruptMessage.TryDecodeMsi(address, data, out var message))
        {
            return false;
        }

        Send(message);
        return true;
    }

    /// <summary>Makes an edge-triggered interrupt pending at one processor.</summary>
    /// <param name="vpIndex">Processor; one that does not exist is ignored.</param>
    /// <param name="vector">16 to 255.</param>
    /// <param name="autoEoi">The interrupt ends when it is delivered: the guest writes no EOI (TLFS, SINT auto-EOI).</param>
    public void SendFixed(int vpIndex, byte vector, bool autoEoi = false)
    {
        if (_engine is { } engine)
        {
            // The guest is told not to use auto-EOI (CPUID, deprecated); an engine's own APICs do not know it.
            engine.Send(InterruptMessage.MsiAddress | ((ulong)(uint)vpIndex << 12), vector);
            return;
        }

        if ((uint)vpIndex < (uint)_apics.Length)
        {
            _apics[vpIndex].AcceptFixed(vector, isLevel: false, autoEoi);
        }
    }

    /// <inheritdoc/>
    void ISynicInterruptSink.Raise(int vpIndex, byte vector, bool autoEoi) => SendFixed(vpIndex, vector, autoEoi);

    /// <inheritdoc/>
    bool ISyntheticApic.TryEndInterrupt(int vpIndex)
    {
        if (_engine is { } engine)
        {
            return engine.TryWriteMsr(vpIndex, LocalApicSpec.MsrX2ApicFirst + LocalApicSpec.Eoi, 0);
        }

        _apics[vpIndex].EndOfInterrupt();
        return true;
    }

    /// <inheritdoc/>
    bool ISyntheticApic.TryReadInterruptCommand(int vpIndex, out ulong value)
    {
        if (_engine is { } engine)
        {
            return engine.TryReadMsr(vpIndex, LocalApicSpec.MsrX2ApicFirst + LocalApicSpec.CommandLow, out value);
        }

        value = _apics[vpIndex].ReadInterruptCommand();
        return true;
    }

    /// <inheritdoc/>
    bool ISyntheticApic.TryWriteInterruptCommand(int vpIndex, ulong value)
    {
        if (_engine is { } engine)
        {
            return engine.TryWriteMsr(vpIndex, LocalApicSpec.MsrX2ApicFirst + LocalApicSpec.CommandLow, value);
        }

        _apics[vpIndex].WriteInterruptCommand(value);
        return true;
    }

    /// <inheritdoc/>
    bool ISyntheticApic.TryReadTaskPriority(int vpIndex, out ulong value)
    {
        if (_engine is { } engine)
        {
            return engine.TryReadMsr(vpIndex, LocalApicSpec.MsrX2ApicFirst + LocalApicSpec.TaskPriority, out value);
        }

        value = _apics[vpIndex].TaskPriority;
        return true;
    }

    /// <inheritdoc/>
    bool ISyntheticApic.TryWriteTaskPriority(int vpIndex, byte value)
    {
        if (_engine is { } engine)
        {
            return engine.TryWriteMsr(vpIndex, LocalApicSpec.MsrX2ApicFirst + LocalApicSpec.TaskPriority, value);
        }

        _apics[vpIndex].TaskPriority = value;
        return true;
    }

    /// <summary>Tells an engine with local APICs of its own what an IO-APIC pin sends.</summary>
    internal void PublishPin(int pin, in InterruptMessage message)
    {
        if (_engine is { } engine)
        {
            if (message.IsLevel && message.Vector >= LocalApicSpec.FirstVector)
            {
                message.EncodeMsi(out var address, out var data);
                engine.SetPinMessage(pin, address, data);
            }
            else
            {
                engine.SetPinMessage(pin, 0, 0);
            }
        }
    }

    internal void Send(in InterruptMessage message, DestinationShorthand shorthand, int sender)
    {
        if (_engine is not null)
        {
            SendToEngine(message, shorthand, sender);
            return;
        }

        if (message.Delivery == DeliveryMode.LowestPriority)
        {
            SendLowestPriority(message, shorthand, sender);
            return;
        }

        if (shorthand == DestinationShorthand.None && !message.IsLogical && message.Destination < (uint)_apics.Length)
        {
            _apics[message.Destination].Accept(message.Delivery, message.Vector, message.IsLevel);
            return;
        }

        for (var i = 0; i < _apics.Length; i++)
        {
            if (IsAddressed(i, message, shorthand, sender))
            {
                _apics[i].Accept(message.Delivery, message.Vector, message.IsLevel);
            }
        }
    }

    internal void OnEndOfInterrupt(int vpIndex, byte vector, bool isLevel)
    {
        if (isLevel)
        {
            _endTarget?.OnEndOfInterrupt(vector);
        }

        _endObserver?.Invoke(vpIndex, vector);
    }

    private void SendToEngine(in InterruptMessage message, DestinationShorthand shorthand, int sender)
    {
        if (shorthand == DestinationShorthand.None)
        {
            message.EncodeMsi(out var address, out var data);
            _engine!.Send(address, data);
            return;
        }

        for (var i = 0; i < _apics.Length; i++)
        {
            if (IsAddressed(i, message, shorthand, sender))
            {
                (message with { Destination = (uint)i, IsLogical = false }).EncodeMsi(out var address, out var data);
                _engine!.Send(address, data);
            }
        }
    }

    private bool IsAddressed(int index, in InterruptMessage message, DestinationShorthand shorthand, int sender) => shorthand switch
    {
        DestinationShorthand.None => _apics[index].Matches(message.Destination, message.IsLogical),
        DestinationShorthand.Self => index == sender,
        DestinationShorthand.AllIncludingSelf => true,
        _ => index != sender,
    };

    private void SendLowestPriority(in InterruptMessage message, DestinationShorthand shorthand, int sender)
    {
        // Ties are broken in turn, so that equally idle processors share the load.
        var first = (int)((uint)Interlocked.Increment(ref _arbitration) % (uint)_apics.Length);
        LocalApic? chosen = null;
        for (var n = 0; n < _apics.Length; n++)
        {
            var i = (first + n) % _apics.Length;
            var apic = _apics[i];
            if (apic.AcceptsFixed && IsAddressed(i, message, shorthand, sender) &&
                (chosen is null || apic.ProcessorPriority < chosen.ProcessorPriority))
            {
                chosen = apic;
            }
        }

        chosen?.AcceptFixed(message.Vector, message.IsLevel, autoEoi: false);
    }
}
