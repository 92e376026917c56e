using Vitro.Foundation;
using Vitro.Hypervisor.Bus;
using Vitro.Hypervisor.Engine;

namespace Vitro.Chipset;

/// <summary>
/// The chipset of a machine: interrupt controllers, timers, real-time clock, serial ports, power management and keyboard
/// controller on a port bus and an MMIO bus, with the way from each processor to its local APIC.
/// </summary>
/// <remarks>
/// The life cycle members belong to one control thread, as <see cref="IVirtualDevice"/> says; accesses come from
/// processor threads.
/// </remarks>
public sealed class StandardChipset : IVirtualDevice
{
    private readonly MmioBus _mmio;
    private readonly List<IVirtualDevice> _devices = [];
    private readonly InterruptLine[] _lines = new InterruptLine[IoApic.Pins];

    /// <summary>Builds the chipset and registers it on both buses.</summary>
    /// <exception cref="ArgumentException">Another device has one of its ports or addresses.</exception>
    public StandardChipset(ChipsetOptions options, PortBus ports, MmioBus mmio)
    {
        _mmio = mmio;
        LocalApics = new LocalApicBus(options.Clock, options.ProcessorCount, options.HasX2Apic, options.TscToNanoseconds);
        IoApic = new IoApic(LocalApics);
        LocalApics.ConnectEndOfInterrupt(IoApic);
        Pic = new Pic();
        Pic.ConnectOutput(LocalApics.ConnectExternal(Pic));
        Interrupts = new InterruptRouter(IoApic, Pic);
        for (var i = 0; i < _lines.Length; i++)
        {
            _lines[i] = new InterruptLine(Interrupts, i);
        }

        Pit = new Pit(options.Clock, _lines[ChipsetPorts.PitLine]);
        Rtc = new Rtc(options.Clock, _lines[ChipsetPorts.RtcLine], options.LowMemoryBytes, options.HighMemoryBytes);
        Pm = new Pm(options.Clock, _lines[ChipsetPorts.SciLine], options.PowerEvents);
        Keyboard = new I8042(_lines[ChipsetPorts.KeyboardLine], options.PowerEvents);
        SerialPorts = BuildSerialPorts(options);

        mmio.Register(IoApic.Address, IoApic.Length, IoApic);
        RegisterPorts(ports, options);

        _devices.AddRange(LocalApics.Apics);
        _devices.AddRange([IoApic, Pic, Pit, Rtc, Pm, Keyboard]);
        _devices.AddRange(SerialPorts.OfType<Uart>());
    }

    /// <inheritdoc/>
    public string Name => "chipset";

    /// <summary>The local APICs; also where message-signalled and SynIC interrupts go.</summary>
    public LocalApicBus LocalApics { get; }

    /// <summary>The IO-APIC.</summary>
    public IoApic IoApic { get; }

    /// <summary>The 8259 pair.</summary>
    public Pic Pic { get; }

    /// <summary>Takes lines by global system interrupt.</summary>
    public InterruptRouter Interrupts { get; }

    /// <summary>The interval timer.</summary>
    public Pit Pit { get; }

    /// <summary>The real-time clock.</summary>
    public Rtc Rtc { get; }

    /// <summary>Power management; presses the power button.</summary>
    public Pm Pm { get; }

    /// <summary>The keyboard controller.</summary>
    public I8042 Keyboard { get; }

    /// <summary>COM1 to COM4; null where the machine has none.</summary>
    public IReadOnlyList<Uart?> SerialPorts { get; }

    /// <summary>
    /// Ports where a write may come late: what serial ports transmit. A driver looks at another register before or after it, which
    /// brings the writes along.
    /// </summary>
    public IEnumerable<ushort> CoalescablePorts =>
        ChipsetPorts.SerialPorts.Where((_, i) => SerialPorts[i] is not null).Select(first => (ushort)(first + UartSpec.Data));

    /// <summary>Every device, in the order they are started.</summary>
    public IReadOnlyList<IVirtualDevice> Devices => _devices;

    /// <summary>What <see cref="PartitionOptions.InterruptControllers"/> takes.</summary>
    public IReadOnlyList<ILocalInterruptController> InterruptControllers => LocalApics.Apics;

    /// <summary>Connects the partition's processors, and its local APICs if it has its own, before the machine starts.</summary>
    public void AttachProcessors(IReadOnlyList<IVirtualProcessor> processors, IEngineLocalApics? engine = null)
    {
        LocalApics.AttachProcessors(processors);
        if (engine is not null)
        {
            LocalApics.AttachEngine(engine);
            IoApic.PublishPins();
        }
    }

    /// <summary>
    /// A new wire to a global system interrupt, 0 to 23. Lines the chipset's own devices use are not to be shared: edges
    /// would be lost between two wires.
    /// </summary>
    public InterruptLine CreateLine(int globalSystemInterrupt) => new(Interrupts, globalSystemInterrupt);

    /// <summary>
    /// Gives the interrupt controllers the state in which firmware hands over to a boot loader: processor 0 takes the 8259
    /// pair's interrupts. Called after a reset when a kernel is started without firmware.
    /// </summary>
    public void PrepareForDirectBoot() => LocalApics.Apics[0].EnterVirtualWire();

    /// <summary>An intercepted read by a processor: its own local APIC page, or a device on the MMIO bus.</summary>
    public ulong ReadMmio(int vpIndex, ulong gpa, int size)
    {
        var apic = LocalApics.Apics[vpIndex];
        if (apic.MmioAddress is { } address && gpa - address < LocalApicSpec.MmioLength)
        {
            return apic.ReadMmio(gpa - address, size) & (size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1);
        }

        return _mmio.Read(gpa, size);
    }

    /// <summary>An intercepted write by a processor: its own local APIC page, or a device on the MMIO bus.</summary>
    public void WriteMmio(int vpIndex, ulong gpa, int size, ulong value)
    {
        var apic = LocalApics.Apics[vpIndex];
        if (apic.MmioAddress is { } address && gpa - address < LocalApicSpec.MmioLength)
        {
            apic.WriteMmio(gpa - address, size, value);
            return;
        }

        _mmio.Write(gpa, size, value);
    }

    /// <summary>RDMSR of APIC_BASE, TSC_DEADLINE and the x2APIC range; false for every other register, and for #GP.</summary>
    public bool TryReadMsr(int vpIndex, uint msr, out ulong value) => LocalApics.Apics[vpIndex].TryReadMsr(msr, out value);

    /// <summary>WRMSR of APIC_BASE, TSC_DEADLINE and the x2APIC range; false for every other register, and for #GP.</summary>
    public bool TryWriteMsr(int vpIndex, uint msr, ulong value) => LocalApics.Apics[vpIndex].TryWriteMsr(msr, value);

    /// <inheritdoc/>
    public void Start()
    {
        foreach (var device in _devices)
        {
            device.Start();
        }
    }

    /// <inheritdoc/>
    public async ValueTask StopAsync()
    {
        foreach (var device in _devices)
        {
            await device.StopAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public void Reset(ResetKind kind)
    {
        foreach (var device in _devices)
        {
            device.Reset(kind);
        }
    }

    /// <inheritdoc/>
    public void Save(SavedStateWriter writer)
    {
        foreach (var device in _devices)
        {
            writer.Group(1, group =>
            {
                group.Text(1, device.Name);
                group.Group(2, device.Save);
            });
        }
    }

    /// <inheritdoc/>
    public void Restore(SavedStateReader reader)
    {
        Reset(ResetKind.Cold);
        var states = ReadDeviceStates(reader);
        foreach (var device in _devices)
        {
            // A device that the saved machine had not starts as after a reset.
            if (!states.TryGetValue(device.Name, out var state))
            {
                continue;
            }

            try
            {
                device.Restore(state);
            }
            catch (SavedStateException)
            {
                Reset(ResetKind.Cold);
                throw;
            }
        }
    }

    private Dictionary<string, SavedStateReader> ReadDeviceStates(SavedStateReader reader)
    {
        var states = new Dictionary<string, SavedStateReader>(StringComparer.Ordinal);
        foreach (var group in reader.Groups(1))
        {
            var name = group.Text(1) ?? "";
            if (!_devices.Exists(device => device.Name == name) || !states.TryAdd(name, group.Group(2)))
            {
                throw new SavedStateException($"The saved chipset has a device '{name}' that this build does not know, or has it twice.");
            }
        }

        return states;
    }

    /// <inheritdoc/>
    public void Inspect(InspectNode node)
    {
        foreach (var device in _devices)
        {
            node.Child(device.Name, device);
        }
    }

    private Uart?[] BuildSerialPorts(ChipsetOptions options)
    {
        if (options.SerialBackends.Count > ChipsetPorts.SerialPorts.Count)
        {
            throw new ArgumentException($"A machine has at most {ChipsetPorts.SerialPorts.Count} serial ports.", nameof(options));
        }

        // COM3 and COM4 share the lines of COM1 and COM2.
        SharedLine[] shared = [new(_lines[ChipsetPorts.SerialLines[0]]), new(_lines[ChipsetPorts.SerialLines[1]])];
        var serialPorts = new Uart?[ChipsetPorts.SerialPorts.Count];
        for (var i = 0; i < options.SerialBackends.Count; i++)
        {
            if (options.SerialBackends[i] is { } backend)
            {
                serialPorts[i] = new Uart(
                    $"com{i + 1}", ChipsetPorts.SerialPorts[i], options.Clock, new InterruptLine(shared[i & 1], i >> 1), backend);
            }
        }

        return serialPorts;
    }

    private void RegisterPorts(PortBus ports, ChipsetOptions options)
    {
        ports.Register(PicSpec.MasterCommand, 2, Pic);
        ports.Register(PicSpec.SlaveCommand, 2, Pic);
        ports.Register(PicSpec.MasterElcr, 2, Pic);
        ports.Register(PitSpec.Counter0, 4, Pit);
        ports.Register(PitSpec.SystemControl, 1, Pit);
        ports.Register(RtcSpec.IndexPort, 2, Rtc);
        ports.Register(I8042Spec.DataPort, 1, Keyboard);
        ports.Register(I8042Spec.CommandPort, 1, Keyboard);
        ports.Register(PmSpec.Status, 4, Pm);
        ports.Register(PmSpec.Control, 2, Pm);
        ports.Register(PmSpec.TimerPort, 4, Pm);
        ports.Register(PmSpec.FastResetPort, 1, Pm);
        ports.Register(ChipsetPorts.ResetRegister, 1, Pm);
        ports.Register(0x80, 1, new PostCodePort());
        for (var i = 0; i < SerialPorts.Count; i++)
        {
            if (SerialPorts[i] is { } serial)
            {
                ports.Register(ChipsetPorts.SerialPorts[i], UartSpec.PortCount, serial);
            }
        }

        if (options.HasDebugExit)
        {
            ports.Register(ChipsetPorts.DebugExit, 4, new DebugExitPort(options.PowerEvents));
        }
    }
}
