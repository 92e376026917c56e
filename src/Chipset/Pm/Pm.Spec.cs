namespace Vitro.Chipset;

/// <summary>The ACPI fixed hardware (ACPI 6.5, "ACPI Hardware Specification").</summary>
internal static class PmSpec
{
    internal const ushort Status = ChipsetPorts.Pm1EventBlock;
    internal const ushort Enable = ChipsetPorts.Pm1EventBlock + 2;
    internal const ushort Control = ChipsetPorts.Pm1ControlBlock;
    internal const ushort TimerPort = ChipsetPorts.PmTimerBlock;

    internal const ushort TimerStatus = 1 << 0;
    internal const ushort GlobalStatus = 1 << 5;
    internal const ushort PowerButton = 1 << 8;
    internal const ushort SleepButton = 1 << 9;
    internal const ushort RtcAlarm = 1 << 10;
    internal const ushort WakeStatus = 1 << 15;

    internal const ushort StatusBits = TimerStatus | GlobalStatus | PowerButton | SleepButton | WakeStatus;
    /// <summary>The alarm never sets its status here, but Linux enables it and complains when the bit does not stay.</summary>
    internal const ushort EnableBits = TimerStatus | GlobalStatus | PowerButton | SleepButton | RtcAlarm;

    internal const ushort ControlSciEnable = 1 << 0;
    internal const ushort ControlSleepEnable = 1 << 13;
    internal const int ControlSleepTypeShift = 10;

    /// <summary>Bits of PM1 control that software keeps: SCI enable always reads 1, sleep enable is write-only.</summary>
    internal const ushort ControlWritable = 7 << ControlSleepTypeShift;

    /// <summary>PM timer rate in Hz.</summary>
    internal const long TimerFrequency = 3_579_545;

    internal const byte ResetCpu = 1 << 2;
    internal const byte ResetSystem = 1 << 1;
    internal const byte ResetWritable = 0x0E;

    internal const ushort FastResetPort = 0x92;
    internal const byte FastReset = 1 << 0;
    internal const byte FastA20 = 1 << 1;
}
