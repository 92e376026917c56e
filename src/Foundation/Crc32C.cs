using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Vitro.Foundation;

/// <summary>CRC-32C (Castagnoli), by the processor's own instruction where there is one.</summary>
public static class Crc32C
{
    // Bytes of each of the three lanes that go side by side: the instruction's result takes three cycles, and one can start in each.
    private const int Lane = 1024;
    private const uint Polynomial = 0x82F6_3B78;

    // Multiplying a checksum by one of these puts it a lane, or two, further ahead.
    private static readonly Vector128<ulong> s_oneLane = Vector128.CreateScalar((ulong)PowerOfX((8 * Lane) - 33));
    private static readonly Vector128<ulong> s_twoLanes = Vector128.CreateScalar((ulong)PowerOfX((8 * 2 * Lane) - 33));

    /// <summary>The checksum of some bytes.</summary>
    public static uint Compute(ReadOnlySpan<byte> data) => ~Add(uint.MaxValue, data);

    /// <summary>Adds bytes to a running checksum, which starts at all ones and is inverted at the end.</summary>
    // Compiled well at once: a process that goes on from a saved machine spends its first milliseconds here.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static uint Add(uint running, ReadOnlySpan<byte> data)
    {
        if (Sse42.X64.IsSupported && Pclmulqdq.IsSupported)
        {
            for (; data.Length >= 3 * Lane; data = data[(3 * Lane)..])
            {
                running = AddLanes(running, data[..Lane], data.Slice(Lane, Lane), data.Slice(2 * Lane, Lane));
            }
        }

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

    // Checksums are linear: that of three lanes is the sum of each one's, moved ahead by what follows it.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static uint AddLanes(uint running, ReadOnlySpan<byte> first, ReadOnlySpan<byte> second, ReadOnlySpan<byte> third)
    {
        ulong a = running, b = 0, c = 0;
        for (var at = 0; at < Lane; at += 8)
        {
            a = Sse42.X64.Crc32(a, BinaryPrimitives.ReadUInt64LittleEndian(first[at..]));
            b = Sse42.X64.Crc32(b, BinaryPrimitives.ReadUInt64LittleEndian(second[at..]));
            c = Sse42.X64.Crc32(c, BinaryPrimitives.ReadUInt64LittleEndian(third[at..]));
        }

        return (uint)(Ahead(a, s_twoLanes) ^ Ahead(b, s_oneLane) ^ c);
    }

    private static ulong Ahead(ulong checksum, Vector128<ulong> by) =>
        Sse42.X64.Crc32(0, Pclmulqdq.CarrylessMultiply(Vector128.CreateScalar(checksum), by, 0).ToScalar());

    // The power of x modulo the polynomial, its highest coefficient in bit 0.
    private static uint PowerOfX(int exponent)
    {
        var value = 0x8000_0000;
        for (; exponent > 0; exponent--)
        {
            value = (value >> 1) ^ ((value & 1) * Polynomial);
        }

        return value;
    }
}
