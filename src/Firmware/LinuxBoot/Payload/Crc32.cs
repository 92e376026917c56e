using System.Buffers.Binary;

namespace Vitro.Firmware.LinuxBoot.Payload;

/// <summary>CRC-32 (IEEE 802.3) over large buffers, eight bytes a step.</summary>
internal static class Crc32
{
    private static readonly uint[] Tables = MakeTables();

    internal static uint Compute(ReadOnlySpan<byte> data)
    {
        var tables = Tables;
        var crc = ~0u;
        while (data.Length >= 8)
        {
            var low = BinaryPrimitives.ReadUInt32LittleEndian(data) ^ crc;
            var high = BinaryPrimitives.ReadUInt32LittleEndian(data[4..]);
            crc = tables[0x700 | (int)(low & 0xFF)] ^ tables[0x600 | (int)((low >> 8) & 0xFF)]
                ^ tables[0x500 | (int)((low >> 16) & 0xFF)] ^ tables[0x400 | (int)(low >> 24)]
                ^ tables[0x300 | (int)(high & 0xFF)] ^ tables[0x200 | (int)((high >> 8) & 0xFF)]
                ^ tables[0x100 | (int)((high >> 16) & 0xFF)] ^ tables[(int)(high >> 24)];
            data = data[8..];
        }

        foreach (var value in data)
        {
            crc = tables[(int)((crc ^ value) & 0xFF)] ^ (crc >> 8);
        }

        return ~crc;
    }

    private static uint[] MakeTables()
    {
        var tables = new uint[8 * 256];
        for (var index = 0u; index < 256; index++)
        {
            var crc = index;
            for (var bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * 0xEDB8_8320);
            }

            tables[index] = crc;
        }

        for (var index = 256; index < tables.Length; index++)
        {
            var previous = tables[index - 256];
            tables[index] = (previous >> 8) ^ tables[(int)(previous & 0xFF)];
        }

        return tables;
    }
}
