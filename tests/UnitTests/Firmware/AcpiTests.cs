using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using Vitro.Firmware.Acpi;
using Xunit;

namespace Vitro.UnitTests.Firmware;

public sealed class AcpiTests
{
    private static AcpiDescription Machine(int processors = 2) => new()
    {
        ApicIds = [.. Enumerable.Range(0, processors).Select(index => (uint)index)],
        PmEventPort = 0x600,
        PmControlPort = 0x604,
        PmTimerPort = 0x608,
        ResetPort = 0xCF9,
        ResetValue = 6,
        SoftOffType = 5,
        SerialPorts = [new AcpiSerialPort(0x3F8, 4)],
        HighMmioWindow = new AcpiAddressRange(0x10_0000_0000, 0x1F_FFFF_FFFF),
    };

    [Fact]
    public void Every_checksum_is_right()
    {
        var tables = AcpiTableBuilder.Build(Machine());

        Assert.All(tables.Tables.Values, table => Assert.Equal(0, table.Sum(value => value) & 0xFF));
        Assert.Equal(0, tables.Image.Take(20).Sum(value => value) & 0xFF);
        Assert.Equal(0, tables.Image.Take(36).Sum(value => value) & 0xFF);
    }

    [Fact]
    public void A_guest_that_searches_finds_every_table()
    {
        using var ram = new GuestRam();
        AcpiTableBuilder.Build(Machine()).Place(ram.Space);

        Assert.Equal("RSD PTR ", Encoding.ASCII.GetString(ram.Read(AcpiTables.DefaultAddress, 8)));
        var xsdt = ram.U64(AcpiTables.DefaultAddress + 24);
        var fadt = ram.U64(xsdt + 36);
        Assert.Equal("FACP", Encoding.ASCII.GetString(ram.Read(fadt, 4)));
        Assert.Equal("APIC", Encoding.ASCII.GetString(ram.Read(ram.U64(xsdt + 44), 4)));
        Assert.Equal("DSDT", Encoding.ASCII.GetString(ram.Read(ram.U64(fadt + 140), 4)));
        Assert.Equal("FACS", Encoding.ASCII.GetString(ram.Read(ram.U32(fadt + 36), 4)));
        Assert.Equal(0u, ram.U32(fadt + 36) % 64);
    }

    [Fact]
    public void The_fixed_table_names_the_chipsets_ports()
    {
        var fadt = AcpiTableBuilder.Build(Machine()).Tables["FACP"];

        Assert.Equal(0x600, BinaryPrimitives.ReadUInt16LittleEndian(fadt.AsSpan(56)));
        Assert.Equal(0x604, BinaryPrimitives.ReadUInt16LittleEndian(fadt.AsSpan(64)));
        Assert.Equal(0x608, BinaryPrimitives.ReadUInt16LittleEndian(fadt.AsSpan(76)));
        Assert.Equal(0xCF9, BinaryPrimitives.ReadUInt16LittleEndian(fadt.AsSpan(120)));
        Assert.Equal(6, fadt[128]);
        Assert.Equal(0u, BinaryPrimitives.ReadUInt32LittleEndian(fadt.AsSpan(48)));
    }

    [Fact]
    public void Processors_with_high_identifiers_get_x2apic_entries()
    {
        var madt = AcpiTableBuilder.Build(Machine(300)).Tables["APIC"];
        var kinds = new Dictionary<byte, int>();
        for (var offset = 44; offset < madt.Length; offset += madt[offset + 1])
        {
            kinds[madt[offset]] = kinds.GetValueOrDefault(madt[offset]) + 1;
        }

        Assert.Equal(255, kinds[0]);
        Assert.Equal(45, kinds[9]);
        Assert.Equal(1, kinds[1]);
        Assert.Equal(2, kinds[2]);
    }

    [Fact]
    public void Hibernation_is_not_offered()
    {
        var dsdt = AcpiTableBuilder.Build(Machine()).Tables["DSDT"];

        Assert.True(dsdt.AsSpan().IndexOf("_S5_"u8) > 0);
        Assert.True(dsdt.AsSpan().IndexOf("_S4_"u8) < 0);
        Assert.True(dsdt.AsSpan().IndexOf("_S3_"u8) < 0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(300)]
    public void The_reference_compiler_reads_the_dsdt_and_finds_the_vmbus_in_its_window(int processors)
    {
        var folder = Directory.CreateTempSubdirectory("vitro-acpi-");
        try
        {
            File.WriteAllBytes(Path.Combine(folder.FullName, "dsdt.aml"), AcpiTableBuilder.Build(Machine(processors)).Tables["DSDT"]);
            Process? process = null;
            try
            {
                process = Process.Start(new ProcessStartInfo("iasl", ["-d", "dsdt.aml"])
                {
                    WorkingDirectory = folder.FullName,
                    RedirectStandardOutput = true,
                    RedirectStandardError = true,
                    UseShellExecute = false,
                });
            }
            catch (System.ComponentModel.Win32Exception)
            {
                Assert.Skip("iasl is not installed (package acpica-tools).");
            }

            using (process)
            {
                var errors = process!.StandardError.ReadToEndAsync();
                process.StandardOutput.ReadToEnd();
                process.WaitForExit();
                Assert.Equal(0, process.ExitCode);
            }

            var source = File.ReadAllText(Path.Combine(folder.FullName, "dsdt.dsl"));
            Assert.Contains("Name (_HID, \"VMBus\")", source, StringComparison.Ordinal);
            Assert.Contains("0xF8000000,         // Range Minimum", source, StringComparison.Ordinal);
            Assert.Contains("0xFEBFFFFF,         // Range Maximum", source, StringComparison.Ordinal);
            Assert.Contains("0x0000001FFFFFFFFF, // Range Maximum", source, StringComparison.Ordinal);
            Assert.Equal(processors, source.Split("\"ACPI0007\"").Length - 1);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_description_without_processors_is_refused() =>
        Assert.Throws<ArgumentException>(() => AcpiTableBuilder.Build(Machine(0)));
}
