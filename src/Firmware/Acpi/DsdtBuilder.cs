namespace Vitro.Firmware.Acpi;

/// <summary>
/// The differentiated system description table: processors, the VMBus under a module device that owns its MMIO windows,
/// and the legacy devices. There is no PCI bus.
/// </summary>
/// <remarks>
/// Linux (drivers/hv/vmbus_drv.c) wants a device with _HID "VMBus" and a _CRS, and takes the MMIO windows from the address
/// space descriptors of its ancestors.
/// </remarks>
internal static class DsdtBuilder
{
    private const byte Revision = 2;

    /// <summary>Present, enabled, shown, working.</summary>
    private const byte Working = 0x0F;

    internal static byte[] Build(AcpiDescription machine)
    {
        byte[][] devices =
        [
            .. machine.ApicIds.Select((_, index) => Processor(index)),
            Module(machine),
            .. machine.SerialPorts.Select(SerialPort),
            .. Legacy(machine),
        ];
        byte[] body =
        [
            .. Aml.Name(
                "\\_S5",
                Aml.Package(Aml.Integer(machine.SoftOffType), Aml.Integer(machine.SoftOffType), Aml.Integer(0), Aml.Integer(0))),
            .. Aml.Scope("\\_SB", devices),
        ];
        return AcpiTableBuilder.Finish([.. new byte[AcpiTableBuilder.HeaderSize], .. body], "DSDT", Revision);
    }

    private static byte[] Processor(int index) => Aml.Device(
        $"C{index:X3}",
        Aml.Name("_HID", Aml.Text("ACPI0007")),
        Aml.Name("_UID", Aml.Integer((ulong)index)));

    private static byte[] Module(AcpiDescription machine)
    {
        var low = Aml.DwordMemoryWindow(machine.MmioWindowStart, machine.MmioWindowEnd);
        var windows = machine.HighMmioWindow is { } high
            ? Aml.Resources(low, Aml.QwordMemoryWindow(high.Start, high.End))
            : Aml.Resources(low);
        return Aml.Device(
            "VMOD",
            Aml.Name("_HID", Aml.Text("ACPI0004")),
            Aml.Name("_UID", Aml.Integer(0)),
            Aml.Name("_CRS", windows),
            Aml.Device(
                "VMBS",
                Aml.Name("_HID", Aml.Text("VMBus")),
                Aml.Name("_UID", Aml.Integer(0)),
                Aml.Name("_DDN", Aml.Text("VMBUS")),
                Aml.Name("_STA", Aml.Integer(Working)),
                Aml.Method("_DIS"),
                Aml.Method("_PS0"),
                Aml.Method("_PS3"),
                Aml.Name("_CRS", Aml.Resources())));
    }

    private static byte[] SerialPort(AcpiSerialPort port, int index) => Aml.Device(
        $"COM{index + 1}",
        Aml.Name("_HID", Aml.EisaId("PNP0501")),
        Aml.Name("_UID", Aml.Integer((ulong)index + 1)),
        Aml.Name("_DDN", Aml.Text($"COM{index + 1}")),
        Aml.Name("_STA", Aml.Integer(Working)),
        Aml.Name("_CRS", Aml.Resources(Aml.Io(port.Port, 8), Aml.Irq(port.Interrupt))));

    private static IEnumerable<byte[]> Legacy(AcpiDescription machine)
    {
        yield return Simple("PIC", "PNP0000", Aml.Io(0x20, 2), Aml.Io(0xA0, 2), Aml.Io(0x4D0, 2), Aml.Irq(2));
        yield return Simple("TIMR", "PNP0100", Aml.Io(0x40, 4), Aml.Irq(0));
        yield return Simple("RTC", "PNP0B00", Aml.Io(0x70, 2), Aml.Irq(8));
        yield return Simple("SPKR", "PNP0800", Aml.Io(0x61, 1));
        if (machine.HasKeyboardController)
        {
            yield return Simple("KBD", "PNP0303", Aml.Io(0x60, 1), Aml.Io(0x64, 1), Aml.Irq(1));
        }

        if (machine.HasPs2Mouse)
        {
            yield return Simple("MOU", "PNP0F13", Aml.Irq(12));
        }

        // The power management block belongs to no other device; this keeps operating systems from giving it away.
        yield return Simple("SYSR", "PNP0C02", PmResources(machine));
    }

    private static byte[][] PmResources(AcpiDescription machine)
    {
        var resources = new List<byte[]> { Aml.Io(machine.PmEventPort, 4), Aml.Io(machine.PmControlPort, 2) };
        if (machine.PmTimerPort is { } timer)
        {
            resources.Add(Aml.Io(timer, 4));
        }

        return [.. resources];
    }

    private static byte[] Simple(string name, string id, params byte[][] resources) => Aml.Device(
        name,
        Aml.Name("_HID", Aml.EisaId(id)),
        Aml.Name("_CRS", Aml.Resources(resources)));
}
