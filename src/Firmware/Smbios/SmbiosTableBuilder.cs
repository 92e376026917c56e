using System.Buffers.Binary;

namespace Vitro.Firmware.Smbios;

/// <summary>Builds SMBIOS 3.0 tables: firmware, system, board, chassis, processors, memory.</summary>
/// <remarks>Source: DMTF DSP0134 3.2. Strings are our own; guests must not take the machine for another maker's.</remarks>
public static class SmbiosTableBuilder
{
    private const int EntrySize = 24;
    private const int StructuresOffset = 32;
    private const string Maker = "Vitro";
    private const string Product = "Virtual Machine";

    private const ushort FirmwareHandle = 0x0000;
    private const ushort SystemHandle = 0x0100;
    private const ushort BoardHandle = 0x0200;
    private const ushort ChassisHandle = 0x0300;
    private const ushort ProcessorHandle = 0x0400;
    private const ushort MemoryArrayHandle = 0x1000;
    private const ushort MemoryDeviceHandle = 0x1100;
    private const ushort MemoryMappingHandle = 0x1300;
    private const ushort BootHandle = 0x2000;
    private const ushort EndHandle = 0x7F00;

    /// <summary>Builds the tables.</summary>
    /// <exception cref="ArgumentException">The serial number is not printable ASCII, or the tables do not fit below 1 MiB.</exception>
    public static SmbiosTables Build(SmbiosDescription machine, ulong address = SmbiosTables.DefaultAddress)
    {
        if (machine.SerialNumber.Length > 64 || machine.SerialNumber.Any(character => character is < ' ' or > '~'))
        {
            throw new ArgumentException("A serial number is at most 64 printable ASCII characters.", nameof(machine));
        }

        var structures = BuildStructures(machine);
        if (address % 16 != 0 || address + StructuresOffset + (ulong)structures.Length > SmbiosTables.DefaultEnd)
        {
            throw new ArgumentException("The SMBIOS tables do not fit below 1 MiB.", nameof(machine));
        }

        var image = new byte[StructuresOffset + structures.Length];
        structures.CopyTo(image, StructuresOffset);
        var entry = image.AsSpan(0, EntrySize);
        "_SM3_"u8.CopyTo(entry);
        entry[6] = EntrySize;
        entry[7] = 3;
        entry[10] = 1;
        BinaryPrimitives.WriteUInt32LittleEndian(entry[12..], (uint)structures.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[16..], address + StructuresOffset);
        byte sum = 0;
        foreach (var value in entry)
        {
            sum += value;
        }

        entry[5] = (byte)-sum;
        return new SmbiosTables(address, image);
    }

    private static byte[] BuildStructures(SmbiosDescription machine)
    {
        var memoryMiB = machine.MemoryBytes >> 20;
        var mappedEnd = (machine.MemoryBytes >> 10) - 1;
        var parts = new List<byte[]>
        {
            // Firmware: no size of its own; characteristics "virtual machine" in the second extension byte.
            new SmbiosStructure(0, FirmwareHandle).Text(Maker).Text(machine.Version).Word(0xE000).Text("01/01/2026").Byte(0)
                .Qword(1 << 3).Byte(1).Byte(1 << 4).Byte(0xFF).Byte(0xFF).Byte(0xFF).Byte(0xFF).Finish(),

            // System: wake-up by the power switch.
            new SmbiosStructure(1, SystemHandle).Text(Maker).Text(Product).Text(machine.Version).Text(machine.SerialNumber)
                .Bytes(machine.MachineId.ToByteArray()).Byte(6).Text("None").Text(Product).Finish(),
            new SmbiosStructure(2, BoardHandle).Text(Maker).Text(Product).Text(machine.Version).Text(machine.SerialNumber).Text("None")
                .Byte(9).Text("None").Word(ChassisHandle).Byte(10).Byte(0).Finish(),

            // Chassis: "other"; all states safe.
            new SmbiosStructure(3, ChassisHandle).Text(Maker).Byte(1).Text(machine.Version).Text(machine.SerialNumber).Text("None")
                .Byte(3).Byte(3).Byte(3).Byte(3).Dword(0).Byte(0).Byte(0).Byte(0).Byte(0).Finish(),

            // Processor: one package with all the cores; its signature is CPUID's business.
            new SmbiosStructure(4, ProcessorHandle).Text("CPU 0").Byte(3).Byte(1).Text(Maker).Qword(0).Text("Virtual Processor").Byte(0)
                .Word(0).Word(0).Word(0).Byte(0x41).Byte(1).Word(0xFFFF).Word(0xFFFF).Word(0xFFFF).Text("None").Text("None").Text("None")
                .Byte(Cores(machine)).Byte(Cores(machine)).Byte(Cores(machine)).Word(0x4).Word(2)
                .Word((ushort)machine.ProcessorCount).Word((ushort)machine.ProcessorCount).Word((ushort)machine.ProcessorCount).Finish(),

            // Memory array: on the board, system memory, no error correction, one module.
            new SmbiosStructure(16, MemoryArrayHandle).Byte(1).Byte(3).Byte(3).Dword(0x8000_0000).Word(0xFFFE).Word(1)
                .Qword(machine.MemoryBytes).Finish(),
            new SmbiosStructure(17, MemoryDeviceHandle).Word(MemoryArrayHandle).Word(0xFFFE).Word(64).Word(64)
                .Word((ushort)(memoryMiB < 0x7FFF ? memoryMiB : 0x7FFF)).Byte(9).Byte(0).Text("M0001").Text("None").Byte(7).Word(1 << 2).Word(0)
                .Text(Maker).Text("None").Text("None").Text("None").Byte(0).Dword((uint)(memoryMiB < 0x7FFF ? 0 : memoryMiB)).Word(0)
                .Word(0).Word(0).Word(0).Finish(),
            new SmbiosStructure(19, MemoryMappingHandle)
                .Dword(mappedEnd < uint.MaxValue ? 0 : uint.MaxValue).Dword(mappedEnd < uint.MaxValue ? (uint)mappedEnd : uint.MaxValue)
                .Word(MemoryArrayHandle).Byte(1).Qword(0).Qword(mappedEnd < uint.MaxValue ? 0 : machine.MemoryBytes - 1).Finish(),
            new SmbiosStructure(32, BootHandle).Bytes(new byte[7]).Finish(),
            new SmbiosStructure(127, EndHandle).Finish(),
        };
        return [.. parts.SelectMany(part => part)];
    }

    private static byte Cores(SmbiosDescription machine) => (byte)Math.Min(machine.ProcessorCount, 0xFF);
}
