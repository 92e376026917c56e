using System.Buffers.Binary;
using System.Numerics;

namespace Vitro.Storage.Vhdx;

/// <summary>CRC-32C (Castagnoli), as VHDX uses it: over a structure whose checksum field counts as zero.</summary>
internal static class VhdxChecksum
{
    internal static uint Compute(ReadOnlySpan<byte> structure, int fieldOffset)
    {
        var crc = Add(uint.MaxValue, structure[..fieldOffset]);
        crc = BitOperations.Crc32C(crc, 0u);
        return ~Add(crc, structure[(fieldOffset + 4)..]);
    }

    internal static void Set(Span<byte> structure, int fieldOffset) =>
        BinaryPrimitives.WriteUInt32LittleEndian(structure[fieldOffset..], Compute(structure, fieldOffset));

    internal static bool Check(ReadOnlySpan<byte> structure, int fieldOffset) =>
        BinaryPrimitives.ReadUInt32LittleEndian(structure[fieldOffset..]) == Compute(structure, fieldOffset);

    private static uint Add(uint crc, ReadOnlySpan<byte> data)
    {
        while (data.Length >= 8)
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
            data = data[8..];
        }

        foreach (var value in data)
        {
            crc = BitOperations.Crc32C(crc, value);
        }

        return crc;
    }
}
