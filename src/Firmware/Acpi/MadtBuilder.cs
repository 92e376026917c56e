using System.Buffers.Binary;

namespace Vitro.Firmware.Acpi;

/// <summary>The multiple APIC description table.</summary>
internal static class MadtBuilder
{
    private const byte Revision = 5;
    private const uint LegacyPic = 1;
    private const byte AllProcessors = 0xFF;
    private const uint AllProcessors32 = uint.MaxValue;

    // MPS INTI flags.
    private const ushort ActiveHighEdge = 0x5;
    private const ushort ActiveHighLevel = 0xD;

    internal static byte[] Build(AcpiDescription machine)
    {
        var table = new List<byte>(new byte[AcpiTableBuilder.HeaderSize]);
        Add32(table, machine.LocalApicAddress);
        Add32(table, LegacyPic);
        var x2Apic = false;
        for (var index = 0; index < machine.ApicIds.Count; index++)
        {
            var id = machine.ApicIds[index];
            if (id < AllProcessors && index < AllProcessors)
            {
                table.AddRange([0, 8, (byte)index, (byte)id]);
                Add32(table, 1);
            }
            else
            {
                // Identifiers from 255 up exist in x2APIC mode only.
                x2Apic = true;
                table.AddRange([9, 16, 0, 0]);
                Add32(table, id);
                Add32(table, 1);
                Add32(table, (uint)index);
            }
        }

        table.AddRange([1, 12, machine.IoApicId, 0]);
        Add32(table, machine.IoApicAddress);
        Add32(table, 0);

        // The timer's ISA interrupt 0 arrives at input 2; the SCI is level triggered, unlike ISA's default.
        AddOverride(table, 0, 2, ActiveHighEdge);
        AddOverride(table, machine.SciInterrupt, machine.SciInterrupt, ActiveHighLevel);

        // Non-maskable interrupts come in at LINT1 of every local APIC.
        table.AddRange([4, 6, AllProcessors, 0, 0, 1]);
        if (x2Apic)
        {
            table.AddRange([10, 12, 0, 0]);
            Add32(table, AllProcessors32);
            table.AddRange([1, 0, 0, 0]);
        }

        return AcpiTableBuilder.Finish([.. table], "APIC", Revision);
    }

    private static void AddOverride(List<byte> table, byte source, uint interrupt, ushort flags)
    {
        table.AddRange([2, 10, 0, source]);
        Add32(table, interrupt);
        table.AddRange([(byte)flags, (byte)(flags >> 8)]);
    }

    private static void Add32(List<byte> table, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        table.AddRange(bytes);
    }
}
