using System.Buffers.Binary;

namespace Vitro.Firmware.LinuxBoot.Payload;

/// <summary>
/// Undoes the x86 branch filter of xz. Before compression the encoder turned the relative targets of CALL and JMP into
/// absolute ones, which repeat more often; what looked like data it left alone. The decoder must judge every byte the same.
/// </summary>
internal static class X86BranchFilter
{
    private const int InstructionLength = 5;

    /// <summary>Filters a whole block in place; the block starts at position 0.</summary>
    internal static void Decode(Span<byte> block)
    {
        // Bits of `recent` stand for the last bytes: bit n + 1 is set when an opcode byte stood n + 1 bytes back and was
        // not converted. Bit 4 and up tell that its last operand byte looked like a sign extension.
        var recent = 0u;
        var lastOpcode = -InstructionLength;
        for (var position = 0; position <= block.Length - InstructionLength;)
        {
            var skip = block[position..^(InstructionLength - 1)].IndexOfAny((byte)0xE8, (byte)0xE9);
            if (skip < 0)
            {
                return;
            }

            position += skip;
            var distance = position - lastOpcode;
            lastOpcode = position;
            recent = distance > InstructionLength ? 0 : Age(recent, distance);

            if (IsSign(block[position + 4]) && MayConvert(recent))
            {
                var operand = block.Slice(position + 1, 4);
                var target = Relative(BinaryPrimitives.ReadUInt32LittleEndian(operand), (uint)position + InstructionLength, recent);

                // Only 25 bits of the target are kept: the last byte repeats bit 24.
                BinaryPrimitives.WriteUInt32LittleEndian(operand, (target & 0x01FF_FFFF) | ((target & 0x0100_0000) != 0 ? 0xFE00_0000 : 0));
                position += InstructionLength;
                recent = 0;
            }
            else
            {
                recent |= IsSign(block[position + 4]) ? 0x11u : 1u;
                position++;
            }
        }
    }

    private static uint Relative(uint source, uint next, uint recent)
    {
        while (true)
        {
            var target = source - next;
            if (recent == 0)
            {
                return target;
            }

            // An opcode shortly before this one overlaps the operand: the encoder inverted the bytes below the overlap.
            var bytes = OverlapBytes(recent >> 1);
            if (!IsSign((byte)(target >> (24 - (bytes * 8)))))
            {
                return target;
            }

            source = target ^ (uint)((1ul << (32 - (bytes * 8))) - 1);
        }
    }

    private static uint Age(uint recent, int distance)
    {
        for (; distance > 0; distance--)
        {
            recent = (recent & 0x77) << 1;
        }

        return recent;
    }

    private static bool MayConvert(uint recent) => recent >> 1 is 0 or 1 or 2 or 4 or 8 or 9 or 10 or 12;

    private static int OverlapBytes(uint recent) => recent switch
    {
        0 => 0,
        1 => 1,
        2 or 3 => 2,
        _ => 3,
    };

    private static bool IsSign(byte value) => value is 0 or 0xFF;
}
