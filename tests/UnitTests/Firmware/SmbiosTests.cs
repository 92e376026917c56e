using System.Text;
using Vitro.Firmware.Smbios;
using Xunit;

namespace Vitro.UnitTests.Firmware;

public sealed class SmbiosTests
{
    private static readonly Guid Id = Guid.Parse("00112233-4455-6677-8899-aabbccddeeff");

    private static SmbiosTables Build(ulong memory = 1UL << 30, string serial = "S-1") => SmbiosTableBuilder.Build(
        new SmbiosDescription { MachineId = Id, MemoryBytes = memory, ProcessorCount = 2, Version = "0.1.0", SerialNumber = serial });

    [Fact]
    public void The_entry_point_is_sound_and_names_the_structures()
    {
        var image = Build().Image;

        Assert.Equal("_SM3_", Encoding.ASCII.GetString(image, 0, 5));
        Assert.Equal(0, image.Take(24).Sum(value => value) & 0xFF);
        Assert.Equal(SmbiosTables.DefaultAddress + 32, BitConverter.ToUInt64(image, 16));
        Assert.Equal(image.Length - 32, BitConverter.ToInt32(image, 12));
    }

    [Fact]
    public void The_structures_follow_each_other_to_the_end_marker()
    {
        var structures = Walk(Build().Image);

        Assert.Equal([0, 1, 2, 3, 4, 16, 17, 19, 32, 127], structures.Select(structure => (int)structure.Type));
        Assert.Equal(structures.Count, structures.Select(structure => structure.Handle).Distinct().Count());
    }

    [Fact]
    public void The_system_structure_holds_the_machines_identity_and_serial_number()
    {
        var system = Walk(Build().Image)[1];

        Assert.Equal(Id, new Guid(system.Fields.AsSpan(8, 16)));
        Assert.Equal("S-1", system.Strings[system.Fields[7] - 1]);
        Assert.Equal("Vitro", system.Strings[system.Fields[4] - 1]);
    }

    [Fact]
    public void Memory_beyond_32_GiB_is_given_in_the_extended_field()
    {
        var device = Walk(Build(memory: 64UL << 30).Image)[6];

        Assert.Equal(0x7FFF, BitConverter.ToUInt16(device.Fields, 12));
        Assert.Equal(65536u, BitConverter.ToUInt32(device.Fields, 28));
    }

    [Fact]
    public void A_serial_number_with_control_characters_is_refused() => Assert.Throws<ArgumentException>(() => Build(serial: "a\nb"));

    private static List<(byte Type, ushort Handle, byte[] Fields, string[] Strings)> Walk(byte[] image)
    {
        var structures = new List<(byte, ushort, byte[], string[])>();
        for (var offset = 32; offset < image.Length;)
        {
            var fields = image[offset..(offset + image[offset + 1])];
            var end = offset + fields.Length;
            while (image[end] != 0 || image[end + 1] != 0)
            {
                end++;
            }

            structures.Add((fields[0], BitConverter.ToUInt16(fields, 2), fields,
                Encoding.ASCII.GetString(image, offset + fields.Length, end - offset - fields.Length).Split('\0')));
            offset = end + 2;
        }

        return structures;
    }
}
