using System.Buffers.Binary;
using System.Text;

namespace Vitro.Firmware.Acpi;

/// <summary>Builds the ACPI tables of a machine: RSDP, XSDT, FADT, FACS, MADT and DSDT.</summary>
/// <remarks>Source: ACPI Specification 6.3, chapters 5 and 6. There is no S3 or S4, so guests never try to hibernate.</remarks>
public static class AcpiTableBuilder
{
    internal const int HeaderSize = 36;
    private const int RsdpSize = 36;
    private const int FacsSize = 64;

    /// <summary>Builds the tables for an address below 1 MiB.</summary>
    /// <param name="description">The machine.</param>
    /// <param name="address">Where the block will lie, a multiple of 64.</param>
    /// <exception cref="ArgumentException">The tables would reach past <see cref="AcpiTables.DefaultEnd"/>, or the description is inconsistent.</exception>
    public static AcpiTables Build(AcpiDescription description, ulong address = AcpiTables.DefaultAddress)
    {
        if (address % 64 != 0 || description.ApicIds.Count == 0 || description.SoftOffType > 7
            || description.MmioWindowStart >= description.MmioWindowEnd)
        {
            throw new ArgumentException("The ACPI description is inconsistent.", nameof(description));
        }

        var facsAddress = address + 64;
        var dsdtAddress = facsAddress + FacsSize;
        var dsdt = DsdtBuilder.Build(description);
        var fadtAddress = Align(dsdtAddress + (ulong)dsdt.Length);
        var fadt = FadtBuilder.Build(description, facsAddress, dsdtAddress);
        var madtAddress = Align(fadtAddress + (ulong)fadt.Length);
        var madt = MadtBuilder.Build(description);
        var xsdtAddress = Align(madtAddress + (ulong)madt.Length);
        var xsdt = BuildXsdt(fadtAddress, madtAddress);
        var end = xsdtAddress + (ulong)xsdt.Length;
        if (address < AcpiTables.DefaultAddress || end > AcpiTables.DefaultEnd)
        {
            throw new ArgumentException("The ACPI tables do not fit below 1 MiB.", nameof(description));
        }

        var image = new byte[end - address];
        BuildRsdp(xsdtAddress).CopyTo(image, 0);
        BuildFacs().CopyTo(image, (int)(facsAddress - address));
        dsdt.CopyTo(image, (int)(dsdtAddress - address));
        fadt.CopyTo(image, (int)(fadtAddress - address));
        madt.CopyTo(image, (int)(madtAddress - address));
        xsdt.CopyTo(image, (int)(xsdtAddress - address));
        return new AcpiTables(address, image, new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            ["DSDT"] = dsdt,
            ["FACP"] = fadt,
            ["APIC"] = madt,
            ["XSDT"] = xsdt,
        });
    }

    /// <summary>Fills the header of a table whose body begins at <see cref="HeaderSize"/>, checksum included.</summary>
    internal static byte[] Finish(byte[] table, string signature, byte revision)
    {
        Encoding.ASCII.GetBytes(signature, table);
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(4), (uint)table.Length);
        table[8] = revision;
        "VITRO "u8.CopyTo(table.AsSpan(10));
        "VITROVM "u8.CopyTo(table.AsSpan(16));
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(24), 1);
        "VTRO"u8.CopyTo(table.AsSpan(28));
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(32), 1);
        table[9] = 0;
        table[9] = Checksum(table);
        return table;
    }

    private static byte[] BuildRsdp(ulong xsdtAddress)
    {
        var rsdp = new byte[RsdpSize];
        "RSD PTR "u8.CopyTo(rsdp);
        "VITRO "u8.CopyTo(rsdp.AsSpan(9));
        rsdp[15] = 2;
        BinaryPrimitives.WriteUInt32LittleEndian(rsdp.AsSpan(20), RsdpSize);
        BinaryPrimitives.WriteUInt64LittleEndian(rsdp.AsSpan(24), xsdtAddress);
        rsdp[8] = Checksum(rsdp.AsSpan(0, 20));
        rsdp[32] = Checksum(rsdp);
        return rsdp;
    }

    private static byte[] BuildFacs()
    {
        var facs = new byte[FacsSize];
        "FACS"u8.CopyTo(facs);
        BinaryPrimitives.WriteUInt32LittleEndian(facs.AsSpan(4), FacsSize);
        facs[32] = 2;
        return facs;
    }

    private static byte[] BuildXsdt(params ReadOnlySpan<ulong> addresses)
    {
        var xsdt = new byte[HeaderSize + (addresses.Length * 8)];
        for (var index = 0; index < addresses.Length; index++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(xsdt.AsSpan(HeaderSize + (index * 8)), addresses[index]);
        }

        return Finish(xsdt, "XSDT", 1);
    }

    private static ulong Align(ulong address) => (address + 15) & ~15UL;

    private static byte Checksum(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (var value in bytes)
        {
            sum += value;
        }

        return (byte)-sum;
    }
}
