using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using static Vitro.Chipset.I8042Spec;

namespace Vitro.Chipset;

/// <summary>
/// The 8042 keyboard controller at ports 0x60 and 0x64 with an idle keyboard and no auxiliary device: what guests probe,
/// and the reset pulse they may reboot with.
/// </summary>
/// <remarks>Thread-safe.</remarks>
public sealed class I8042 : IVirtualDevice, IPortIo
{
    private readonly InterruptOutput _interrupt;
    private readonly IPowerEvents _events;
    private readonly Lock _gate = new();
    private readonly IdleKeyboard _keyboard = new();
    private readonly ByteRing _output = new(16);
    private byte _config;
    private byte _awaiting;
    private byte _last;
    private bool _lastWriteWasCommand;

    /// <summary>Creates the controller.</summary>
    /// <param name="line">ISA interrupt 1.</param>
    /// <param name="events">Told of the reset pulse.</param>
    public I8042(InterruptLine line, IPowerEvents events)
    {
        _interrupt = new InterruptOutput(line);
        _events = events;
        Reset(ResetKind.Cold);
    }

    /// <inheritdoc/>
    public string Name => "i8042";

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        byte value;
        lock (_gate)
        {
            if (port == CommandPort)
            {
                return (uint)(StatusUnlocked | (_config & ConfigSystem) | (_output.Count > 0 ? StatusOutputFull : 0) |
                    (_lastWriteWasCommand ? StatusCommand : 0));
            }

            if (_output.TryTake(out value))
            {
                _last = value;
            }
            else
            {
                value = _last;
            }

            // The next byte is a new edge.
            _interrupt.Level = false;
        }

        _interrupt.Publish();
        lock (_gate)
        {
            Update();
        }

        _interrupt.Publish();
        return value;
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        var resets = false;
        lock (_gate)
        {
            _lastWriteWasCommand = port == CommandPort;
            if (port == CommandPort)
            {
                resets = WriteCommand((byte)value);
            }
            else
            {
                resets = WriteData((byte)value);
            }

            Update();
        }

        _interrupt.Publish();
        if (resets)
        {
            _events.RequestReset("keyboard controller");
        }
    }

    /// <inheritdoc/>
    public void Start()
    {
        // Acts only when a port is accessed.
    }

    /// <inheritdoc/>
    public ValueTask StopAsync() => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            _keyboard.Reset();
            _output.Clear();
            _config = ConfigKeyboardInterrupt | ConfigSystem | ConfigAuxiliaryDisabled | ConfigTranslate;
            _awaiting = 0;
            _last = 0;
            _lastWriteWasCommand = false;
            Update();
        }

        _interrupt.Publish();
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            new I8042SavedState
            {
                Output = _output.ToArray(),
                Config = _config,
                Awaiting = _awaiting,
                Last = _last,
                LastWriteWasCommand = _lastWriteWasCommand,
                KeyboardAwaiting = _keyboard.Awaiting,
                KeyboardScanCodeSet = _keyboard.ScanCodeSet,
                KeyboardLeds = _keyboard.Leds,
            }.Write(writer);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var state = I8042SavedState.Read(reader);
        lock (_gate)
        {
            _output.Add(state.Output);
            _config = state.Config;
            _awaiting = state.Awaiting;
            _last = state.Last;
            _lastWriteWasCommand = state.LastWriteWasCommand;
            _keyboard.Awaiting = state.KeyboardAwaiting;
            _keyboard.ScanCodeSet = state.KeyboardScanCodeSet;
            _keyboard.Leds = state.KeyboardLeds;
            Update();
        }

        _interrupt.Publish();
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Hex("config", _config).Value("queued", _output.Count).Value("irq", _interrupt.Level).Value("leds", _keyboard.Leds)
                .Value("scanCodeSet", _keyboard.ScanCodeSet);
        }
    }

    /// <summary>Runs a controller command; true for a reset pulse.</summary>
    private bool WriteCommand(byte command)
    {
        _awaiting = 0;
        switch (command)
        {
            case >= CommandReadConfig and < CommandReadConfig + 0x20:
                _output.TryAdd(command == CommandReadConfig ? _config : (byte)0);
                break;
            case CommandWriteConfig or CommandWriteOutput or CommandLoopKeyboard or CommandLoopAuxiliary or CommandWriteAuxiliary:
                _awaiting = command;
                break;
            case CommandDisableAuxiliary:
                _config |= ConfigAuxiliaryDisabled;
                break;
            case CommandEnableAuxiliary:
                _config = (byte)(_config & ~ConfigAuxiliaryDisabled);
                break;
            case CommandTestAuxiliary:
                _output.TryAdd(AuxiliaryAbsent);
                break;
            case CommandSelfTest:
                _config |= ConfigSystem;
                _output.Clear();
                _output.TryAdd(SelfTestPassed);
                break;
            case CommandTestKeyboard:
                _output.TryAdd(0);
                break;
            case CommandDisableKeyboard:
                _config |= ConfigKeyboardDisabled;
                break;
            case CommandEnableKeyboard:
                _config = (byte)(_config & ~ConfigKeyboardDisabled);
                break;
            case CommandReadInput:
                _output.TryAdd(0x80);
                break;
            case CommandReadOutput:
                _output.TryAdd((byte)(OutputNoReset | OutputA20));
                break;
            case >= CommandPulseFirst:
                // Bits 3:0 that are clear pulse their output low; bit 0 is the reset line.
                return (command & 1) == 0;
            default:
                break;
        }

        return false;
    }

    /// <summary>Takes a data byte: a command's parameter or a byte for the keyboard; true for a reset through the output port.</summary>
    private bool WriteData(byte value)
    {
        var command = _awaiting;
        _awaiting = 0;
        switch (command)
        {
            case CommandWriteConfig:
                _config = (byte)(value & 0x77);
                return false;
            case CommandWriteOutput:
                return (value & OutputNoReset) == 0;
            case CommandLoopKeyboard or CommandLoopAuxiliary:
                // With no auxiliary port its loop comes back as keyboard data, by which drivers know.
                _output.TryAdd(value);
                return false;
            case CommandWriteAuxiliary:
                // Nobody is there to answer.
                return false;
            default:
                Span<byte> answer = stackalloc byte[3];
                var length = _keyboard.Write(value, answer);
                _config = (byte)(_config & ~ConfigKeyboardDisabled);
                _output.Add(answer[..length]);
                return false;
        }
    }

    private void Update() => _interrupt.Level = _output.Count > 0 && (_config & ConfigKeyboardInterrupt) != 0;
}
