namespace Vitro.Chipset;

/// <summary>The fixed port numbers and interrupt lines of the standard chipset, as firmware tables describe them.</summary>
public static class ChipsetPorts
{
    /// <summary>ACPI PM1a event block: status (2 bytes), enable (2 bytes).</summary>
    public const ushort Pm1EventBlock = 0x600;

    /// <summary>ACPI PM1a control block, 2 bytes.</summary>
    public const ushort Pm1ControlBlock = 0x604;

    /// <summary>ACPI PM timer, 4 bytes, a full 32-bit counter (FADT flag TMR_VAL_EXT).</summary>
    public const ushort PmTimerBlock = 0x608;

    /// <summary>SLP_TYP of S5; both values of the <c>\_S5</c> package.</summary>
    public const byte SleepTypeS5 = 5;

    /// <summary>Reset control register (FADT RESET_REG, one byte in I/O space).</summary>
    public const ushort ResetRegister = 0xCF9;

    /// <summary>FADT RESET_VALUE: full reset through <see cref="ResetRegister"/>.</summary>
    public const byte ResetValue = 0x06;

    /// <summary>The ACPI system control interrupt: this global system interrupt, level triggered, active high.</summary>
    public const int SciLine = 9;

    /// <summary>Debug-exit port when enabled, 4 bytes.</summary>
    public const ushort DebugExit = 0xF4;

    /// <summary>First ports of COM1 to COM4, 8 ports each.</summary>
    public static IReadOnlyList<ushort> SerialPorts { get; } = [0x3F8, 0x2F8, 0x3E8, 0x2E8];

    /// <summary>ISA interrupt lines of COM1 to COM4.</summary>
    public static IReadOnlyList<int> SerialLines { get; } = [4, 3, 4, 3];

    /// <summary>ISA interrupt line of PIT counter 0; the IO-APIC sees it at pin 2.</summary>
    public const int PitLine = 0;

    /// <summary>ISA interrupt line of the keyboard.</summary>
    public const int KeyboardLine = 1;

    /// <summary>ISA interrupt line of the real-time clock.</summary>
    public const int RtcLine = 8;
}
