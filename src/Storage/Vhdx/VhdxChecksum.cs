using System.Buffers.Binary;
using System.Numerics;
using Vitro.Foundation;

namespace Vitro.Storage.Vhdx;

/// <summary>CRC-32C (Castagnoli), as VHDX uses it: over a structure whose checksum field counts as zero.</summary>
internal static class VhdxChecksum
{
    internal static uint Compute(ReadOnlySpan<byte> structure, int fieldOffset)
    {
        var crc = Crc32C.Add(uint.MaxValue, structure[..fieldOffset]);
        crc = BitOperations.Crc32C(crc, 0u);
        return ~Crc32C.Add(crc, structure[(fieldOffset + 4)..]);
    }

    internal static void Set(Span<byte> structure, int fieldOffset) =>
        BinaryPrimitives.WriteUInt32LittleEndian(structure[fieldOffset..], Compute(structure, fieldOffset));

    internal static bool Check(ReadOnlySpan<byte> structure, int fieldOffset) =>
        BinaryPrimitives.ReadUInt32LittleEndian(structure[fieldOffset..]) == Compute(structure, fieldOffset);
}
