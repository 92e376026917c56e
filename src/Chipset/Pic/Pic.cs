using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using static Vitro.Chipset.PicSpec;

namespace Vitro.Chipset;

/// <summary>The pair of 8259A interrupt controllers with the edge/level control registers of ISA chipsets.</summary>
/// <remarks>Thread-safe. Until a guest initialises it, its output stays low.</remarks>
public sealed class Pic : IVirtualDevice, IPortIo, IInterruptLineTarget, IExternalInterruptSource
{
    /// <summary>The master's line that the slave drives.</summary>
    public const int CascadeLine = 2;

    private readonly Lock _gate = new();
    private readonly PicChip _master = new(isMaster: true, MasterElcrWritable);
    private readonly PicChip _slave = new(isMaster: false, SlaveElcrWritable);
    private Action? _outputChanged;
    private bool _output;
    private long _acknowledged;
    private long _spurious;

    /// <inheritdoc/>
    public string Name => "pic";

    /// <inheritdoc/>
    public bool IsAsserted => Volatile.Read(ref _output);

    /// <summary>Sets what is called, with no lock held, when the output has changed; before the machine starts.</summary>
    public void ConnectOutput(Action outputChanged) => _outputChanged = outputChanged;

    /// <inheritdoc/>
    public byte Acknowledge()
    {
        byte vector;
        bool changed;
        lock (_gate)
        {
            var (line, isReal) = _master.Acknowledge();
            vector = (byte)(_master.VectorBase + line);
            if (isReal && line == CascadeLine)
            {
                var (slaveLine, slaveReal) = _slave.Acknowledge();
                isReal = slaveReal;
                vector = (byte)(_slave.VectorBase + slaveLine);
            }

            _acknowledged++;
            _spurious += isReal ? 0 : 1;
            changed = Update();
        }

        Tell(changed);
        return vector;
    }

    /// <inheritdoc/>
    public void SetLine(int line, bool high)
    {
        if (line is < 0 or > 15 or CascadeLine)
        {
            return;
        }

        bool changed;
        lock (_gate)
        {
            (line < 8 ? _master : _slave).SetLine(line & 7, high);
            changed = Update();
        }

        Tell(changed);
    }

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size)
    {
        uint value;
        bool changed;
        lock (_gate)
        {
            value = port switch
            {
                MasterCommand => _master.ReadCommand(),
                MasterData => _master.ReadData(),
                SlaveCommand => _slave.ReadCommand(),
                SlaveData => _slave.ReadData(),
                MasterElcr => _master.Elcr,
                SlaveElcr => _slave.Elcr,
                _ => 0xFF,
            };
            changed = Update();
        }

        Tell(changed);
        return value;
    }

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value)
    {
        bool changed;
        lock (_gate)
        {
            var low = (byte)value;
            switch (port)
            {
                case MasterCommand:
                    _master.WriteCommand(low);
                    break;
                case MasterData:
                    _master.WriteData(low);
                    break;
                case SlaveCommand:
                    _slave.WriteCommand(low);
                    break;
                case SlaveData:
                    _slave.WriteData(low);
                    break;
                case MasterElcr:
                    _master.WriteElcr(low);
                    break;
                case SlaveElcr:
                    _slave.WriteElcr(low);
                    break;
                default:
                    break;
            }

            changed = Update();
        }

        Tell(changed);
    }

    /// <inheritdoc/>
    public void Start()
    {
        // It acts only when a line or a port does.
    }

    /// <inheritdoc/>
    public ValueTask StopAsync() => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        lock (_gate)
        {
            _master.Reset();
            _slave.Reset();
            Update();
        }
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        lock (_gate)
        {
            writer.Group(1, _master.Save().Write);
            writer.Group(2, _slave.Save().Write);
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var master = PicChipSavedState.Read(reader.Group(1));
        var slave = PicChipSavedState.Read(reader.Group(2));
        lock (_gate)
        {
            _master.Load(master);
            _slave.Load(slave);
            Update();
        }
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        lock (_gate)
        {
            node.Value("output", _output).Value("acknowledged", _acknowledged).Value("spurious", _spurious);
            Inspect(node.Child("master"), _master);
            Inspect(node.Child("slave"), _slave);
        }
    }

    private static void Inspect(InspectNode node, PicChip chip) =>
        node.Hex("irr", chip.Request).Hex("isr", chip.InService).Hex("mask", chip.Mask).Hex("elcr", chip.Elcr)
            .Hex("lines", chip.Lines).Hex("base", chip.VectorBase);

    private bool Update()
    {
        _master.SetLine(CascadeLine, _slave.Output);
        var output = _master.Output;
        var changed = output != _output;
        Volatile.Write(ref _output, output);
        return changed;
    }

    private void Tell(bool changed)
    {
        if (changed)
        {
            _outputChanged?.Invoke();
        }
    }
}
