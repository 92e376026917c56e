using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using static Vitro.Chipset.IoApicSpec;

namespace Vitro.Chipset;

/// <summary>The IO-APIC: 24 pins, version 0x20 (Intel 82093AA, with the EOI register of its successors).</summary>
/// <remarks>Thread-safe. Messages leave with no lock held.</remarks>
public sealed class IoApic : IVirtualDevice, IMmio, IInterruptLineTarget, IEndOfInterruptTarget
{
    /// <summary>Number of pins; global system interrupts 0 to this minus 1.</summary>
    public const int Pins = PinCount;

    /// <summary>Guest physical address of its registers.</summary>
    public const ulong Address = DefaultAddress;

    /// <summary>Bytes of guest physical space it takes.</summary>
    public const ulong Length = MmioLength;

    private readonly LocalApicBus _bus;
    private readonly Lock _gate = new();
    private readonly IoApicPin[] _pins = new IoApicPin[PinCount];
    private byte _select;
    private uint _id;
    private long _sent;

    /// <summary>Creates the IO-APIC, all pins masked.</summary>
    public IoApic(LocalApicBus bus)
    {
        _bus = bus;
        Reset(ResetKind.Cold);
    }

    /// <inheritdoc/>
    public string Name => "ioapic";

    /// <inheritdoc/>
    public void SetLine(int line, bool high)
    {
        if ((uint)line >= PinCount)
        {
            return;
        }

        InterruptMessage message;
        lock (_gate)
        {
            if (!_pins[line].SetLevel(high))
            {
                return;
            }

            message = _pins[line].Message;
            _sent++;
        }

        _bus.Send(message);
    }

    /// <inheritdoc/>
    public void OnEndOfInterrupt(byte vector)
    {
        for (var i = 0; i < PinCount; i++)
        {
            InterruptMessage message;
            lock (_gate)
            {
                if (!_pins[i].End(vector))
                {
                    continue;
                }

                message = _pins[i].Message;
                _sent++;
            }

            _bus.Send(message);
        }
    }

    /// <inheritdoc/>
    public ulong ReadMmio(ulong offset, int size)
    {
        lock (_gate)
        {
            return offset switch
            {
                OffsetSelect => _select,
                OffsetWindow => ReadRegister(),
                _ => 0,
            };
        }
    }

    /// <inheritdoc/>
    public void WriteMmio(ulong offset, int size, ulong value)
    {
        switch (offset)
        {
            case OffsetSelect:
                lock (_gate)
                {
                    _select = (byte)value;
                }

                break;
            case OffsetWindow:
                WriteRegister((uint)value);
                break;
            case OffsetEoi:
                OnEndOfInterrupt((byte)value);
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        // It acts only when a line or a register does.
    }

    /// <inheritdoc/>
    public ValueTask StopAsync() => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            _select = 0;
            _id = 0;
            for (var i = 0; i < PinCount; i++)
            {
                // The wires belong to the devices and keep their levels.
                _pins[i].Entry = EntryMasked;
            }
        }

        PublishPins();
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            new IoApicSavedState
            {
                Select = _select,
                Id = _id,
                Entries = [.. _pins.Select(pin => pin.Entry)],
                Levels = _pins.Select((pin, i) => pin.IsHigh ? 1u << i : 0).Aggregate(0u, (all, bit) => all | bit),
            }.Write(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var state = IoApicSavedState.Read(reader);
        lock (_gate)
        {
            _select = state.Select;
            _id = state.Id;
            for (var i = 0; i < PinCount; i++)
            {
                _pins[i].Entry = state.Entries[i] & (EntryWritable | EntryRemoteIrr);
                _pins[i].IsHigh = (state.Levels >> i & 1) != 0;
            }
        }

        PublishPins();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("sent", _sent);
            for (var i = 0; i < PinCount; i++)
            {
                node.Child($"pin{i}")
                    .Hex("entry", _pins[i].Entry)
                    .Value("high", _pins[i].IsHigh)
                    .Value("masked", (_pins[i].Entry & EntryMasked) != 0);
            }
        }
    }

    /// <summary>Tells an engine with local APICs of its own what the pins send.</summary>
    internal void PublishPins()
    {
        for (var i = 0; i < PinCount; i++)
        {
            InterruptMessage message;
            lock (_gate)
            {
                message = _pins[i].Message;
            }

            _bus.PublishPin(i, message);
        }
    }

    private uint ReadRegister()
    {
        if (_select >= RegisterRedirection)
        {
            var pin = (_select - RegisterRedirection) >> 1;
            return pin >= PinCount ? 0 : (uint)(_pins[pin].Entry >> ((_select & 1) * 32));
        }

        return _select switch
        {
            RegisterId or RegisterArbitration => _id,
            RegisterVersion => VersionValue,
            _ => 0,
        };
    }

    private void WriteRegister(uint value)
    {
        InterruptMessage message;
        int pin;
        bool sends;
        lock (_gate)
        {
            if (_select == RegisterId)
            {
                _id = value & 0x0F00_0000;
                return;
            }

            pin = (_select - RegisterRedirection) >> 1;
            if (_select < RegisterRedirection || pin >= PinCount)
            {
                return;
            }

            sends = _pins[pin].WriteHalf((_select & 1) != 0, value);
            message = _pins[pin].Message;
            _sent += sends ? 1 : 0;
        }

        _bus.PublishPin(pin, message);
        if (sends)
        {
            _bus.Send(message);
        }
    }
}
