namespace Vitro.Firmware.Acpi;

/// <summary>What the ACPI tables tell the guest of its machine. Port numbers are those the chipset answers at.</summary>
public sealed record AcpiDescription
{
    /// <summary>Local APIC identifiers, one for each virtual processor, the boot processor first.</summary>
    public required IReadOnlyList<uint> ApicIds { get; init; }

    /// <summary>Guest physical address of the local APICs.</summary>
    public uint LocalApicAddress { get; init; } = 0xFEE0_0000;

    /// <summary>Identifier of the I/O APIC; its inputs are global system interrupts from 0.</summary>
    public byte IoApicId { get; init; }

    /// <summary>Guest physical address of the I/O APIC.</summary>
    public uint IoApicAddress { get; init; } = 0xFEC0_0000;

    /// <summary>First port of the PM1a event block: status word, enable word.</summary>
    public required ushort PmEventPort { get; init; }

    /// <summary>Port of the PM1a control word.</summary>
    public required ushort PmControlPort { get; init; }

    /// <summary>Port of the 32-bit power management timer; null when there is none.</summary>
    public ushort? PmTimerPort { get; init; }

    /// <summary>Port of the one-byte reset register.</summary>
    public required ushort ResetPort { get; init; }

    /// <summary>What to write to <see cref="ResetPort"/>.</summary>
    public required byte ResetValue { get; init; }

    /// <summary>SLP_TYP value that means soft off, 0 to 7.</summary>
    public required byte SoftOffType { get; init; }

    /// <summary>Global system interrupt of the SCI, level triggered and active high.</summary>
    public byte SciInterrupt { get; init; } = 9;

    /// <summary>The serial ports.</summary>
    public IReadOnlyList<AcpiSerialPort> SerialPorts { get; init; } = [];

    /// <summary>A PS/2 keyboard controller at 0x60 and 0x64, interrupt 1.</summary>
    public bool HasKeyboardController { get; init; } = true;

    /// <summary>A PS/2 mouse behind the keyboard controller, interrupt 12.</summary>
    public bool HasPs2Mouse { get; init; }

    /// <summary>Start of the window that VMBus devices take their MMIO ranges from; below 4 GiB.</summary>
    public uint MmioWindowStart { get; init; } = 0xF800_0000;

    /// <summary>The last address of that window.</summary>
    public uint MmioWindowEnd { get; init; } = 0xFEBF_FFFF;

    /// <summary>A second window above RAM; null when there is none.</summary>
    public AcpiAddressRange? HighMmioWindow { get; init; }
}

/// <summary>A 16550 serial port.</summary>
/// <param name="Port">First of its eight ports.</param>
/// <param name="Interrupt">Its ISA interrupt.</param>
public readonly record struct AcpiSerialPort(ushort Port, byte Interrupt);

/// <summary>A range of guest physical addresses.</summary>
/// <param name="Start">First address.</param>
/// <param name="End">Last address.</param>
public readonly record struct AcpiAddressRange(ulong Start, ulong End);
