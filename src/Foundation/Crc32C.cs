using System.Buffers.Binary;
using System.Numerics;

namespace Vitro.Foundation;

/// <summary>CRC-32C (Castagnoli), by the processor's own instruction where there is one.</summary>
public static class Crc32C
{
    /// <summary>The checksum of some bytes.</summary>
    public static uint Compute(ReadOnlySpan<byte> data) => ~Add(uint.MaxValue, data);

    /// <summary>Adds bytes to a running checksum, which starts at all ones and is inverted at the end.</summary>
    public static uint Add(uint running, ReadOnlySpan<byte> data)
    {
        while (data.Length >= 8)
        {
            running = BitOperations.Crc32C(running, BinaryPrimitives.ReadUInt64LittleEndian(data));
            data = data[8..];
        }

        foreach (var value in data)
        {
            running = BitOperations.Crc32C(running, value);
        }

        return running;
    }
}
