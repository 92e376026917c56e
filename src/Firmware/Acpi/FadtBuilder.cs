using System.Buffers.Binary;

namespace Vitro.Firmware.Acpi;

/// <summary>The fixed ACPI description table: always in ACPI mode, with a reset register and a fixed power button.</summary>
internal static class FadtBuilder
{
    private const int Size = 276;
    private const byte Revision = 6;
    private const byte MinorRevision = 3;
    private const byte ServerProfile = 4;
    private const byte CenturyIndex = 0x32;

    // IA-PC boot architecture flags.
    private const ushort LegacyDevices = 1;
    private const ushort KeyboardController = 2;
    private const ushort NoVga = 4;
    private const ushort NoAspm = 16;

    // Fixed feature flags.
    private const uint WriteBackInvalidate = 1 << 0;
    private const uint HaltWorks = 1 << 2;
    private const uint NoSleepButton = 1 << 5;
    private const uint RtcWakeNotFixed = 1 << 6;
    private const uint Timer32Bit = 1 << 8;
    private const uint ResetRegister = 1 << 10;
    private const uint Headless = 1 << 12;

    internal static byte[] Build(AcpiDescription machine, ulong facsAddress, ulong dsdtAddress)
    {
        var fadt = new byte[Size];
        Put32(fadt, 36, (uint)facsAddress);
        Put32(fadt, 40, (uint)dsdtAddress);
        fadt[45] = ServerProfile;
        Put16(fadt, 46, machine.SciInterrupt);
        Put32(fadt, 56, machine.PmEventPort);
        Put32(fadt, 64, machine.PmControlPort);
        fadt[88] = 4;
        fadt[89] = 2;

        // No C2 and no C3.
        Put16(fadt, 96, 0xFFF);
        Put16(fadt, 98, 0xFFF);
        fadt[108] = CenturyIndex;
        Put16(fadt, 109, (ushort)(LegacyDevices | NoVga | NoAspm | (machine.HasKeyboardController ? KeyboardController : 0)));
        Put32(
            fadt,
            112,
            WriteBackInvalidate | HaltWorks | NoSleepButton | RtcWakeNotFixed | ResetRegister | Headless
                | (machine.PmTimerPort is null ? 0 : Timer32Bit));
        PutPort(fadt, 116, machine.ResetPort, 8, 1);
        fadt[128] = machine.ResetValue;
        fadt[131] = MinorRevision;

        // The 64-bit firmware control field stays 0: only one of the two may be set.
        Put64(fadt, 140, dsdtAddress);
        PutPort(fadt, 148, machine.PmEventPort, 32, 2);
        PutPort(fadt, 172, machine.PmControlPort, 16, 2);
        if (machine.PmTimerPort is { } timer)
        {
            Put32(fadt, 76, timer);
            fadt[91] = 4;
            PutPort(fadt, 208, timer, 32, 3);
        }

        return AcpiTableBuilder.Finish(fadt, "FACP", Revision);
    }

    /// <summary>Writes a generic address structure in port space.</summary>
    private static void PutPort(byte[] fadt, int offset, ushort port, byte bits, byte accessSize)
    {
        fadt[offset] = 1;
        fadt[offset + 1] = bits;
        fadt[offset + 3] = accessSize;
        Put64(fadt, offset + 4, port);
    }

    private static void Put16(byte[] table, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(table.AsSpan(offset), value);

    private static void Put32(byte[] table, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(offset), value);

    private static void Put64(byte[] table, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(table.AsSpan(offset), value);
}
