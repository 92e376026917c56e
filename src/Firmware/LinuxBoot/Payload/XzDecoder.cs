using System.Buffers.Binary;

namespace Vitro.Firmware.LinuxBoot.Payload;

/// <summary>
/// The .xz container as kernels use it: LZMA2, with the x86 branch filter or without, each block checked by CRC-32 or not
/// at all. Decodes from memory to memory, so that the output is the dictionary.
/// </summary>
/// <remarks>Source: The .xz File Format 1.1.0.</remarks>
internal static class XzDecoder
{
    private const int HeaderSize = 12;
    private const ulong FilterX86 = 0x04;
    private const ulong FilterLzma2 = 0x21;

    /// <summary>Decodes the first stream; bytes after it are ignored.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="InvalidDataException">The stream is damaged, uses another filter, or does not fit.</exception>
    internal static int Decode(ReadOnlySpan<byte> input, Span<byte> output)
    {
        if (input.Length < HeaderSize || !input[..6].SequenceEqual<byte>([0xFD, 0x37, 0x7A, 0x58, 0x5A, 0]))
        {
            throw new InvalidDataException("no xz stream");
        }

        if (Crc32.Compute(input.Slice(6, 2)) != BinaryPrimitives.ReadUInt32LittleEndian(input[8..]) || input[6] != 0 || input[7] > 15)
        {
            throw new InvalidDataException("the xz stream header is damaged");
        }

        int check = input[7];
        var position = HeaderSize;
        var written = 0;

        // A zero size byte begins the index, which follows the last block.
        while (At(input, position) != 0)
        {
            var block = output[written..];
            var (length, x86) = ReadBlockHeader(input, position);
            var lzma = new Lzma2Decoder(input, position + length, block);
            lzma.Run();
            position = (lzma.InputPosition + 3) & ~3;
            var content = block[..lzma.OutputPosition];
            if (x86)
            {
                X86BranchFilter.Decode(content);
            }

            if (check == 1)
            {
                if (position + 4 > input.Length || BinaryPrimitives.ReadUInt32LittleEndian(input[position..]) != Crc32.Compute(content))
                {
                    throw new InvalidDataException("the checksum of the unpacked data does not match");
                }
            }

            position += CheckSize(check);
            written += content.Length;
        }

        return written;
    }

    private static (int Length, bool X86) ReadBlockHeader(ReadOnlySpan<byte> input, int start)
    {
        var length = (At(input, start) + 1) * 4;
        if (length > input.Length - start)
        {
            throw new InvalidDataException("a block header is cut off");
        }

        var header = input.Slice(start, length - 4);
        if (Crc32.Compute(header) != BinaryPrimitives.ReadUInt32LittleEndian(input[(start + length - 4)..]))
        {
            throw new InvalidDataException("a block header is damaged");
        }

        int flags = At(header, 1);
        var position = 2;
        if ((flags & 0x40) != 0)
        {
            ReadNumber(header, ref position);
        }

        if ((flags & 0x80) != 0)
        {
            ReadNumber(header, ref position);
        }

        var x86 = false;
        var lzma2 = false;
        for (var filters = (flags & 3) + 1; filters > 0; filters--)
        {
            var filter = ReadNumber(header, ref position);
            var properties = (int)Math.Min(ReadNumber(header, ref position), 255);
            switch (filter)
            {
                case FilterX86 when properties == 0 && !x86 && !lzma2:
                    x86 = true;
                    break;
                case FilterLzma2 when properties == 1 && filters == 1:
                    lzma2 = true;
                    break;
                default:
                    throw new InvalidDataException($"filter 0x{filter:x} is not supported");
            }

            position += properties;
        }

        return lzma2 ? (length, x86) : throw new InvalidDataException("a block is not LZMA2");
    }

    private static ulong ReadNumber(ReadOnlySpan<byte> header, ref int position)
    {
        var number = 0ul;
        for (var shift = 0; shift < 63; shift += 7)
        {
            var part = At(header, position++);
            number |= (ulong)(part & 0x7F) << shift;
            if ((part & 0x80) == 0)
            {
                return number;
            }
        }

        throw new InvalidDataException("a number is too long");
    }

    private static int CheckSize(int check) => check switch
    {
        0 => 0,
        <= 3 => 4,
        <= 6 => 8,
        <= 9 => 16,
        <= 12 => 32,
        _ => 64,
    };

    private static byte At(ReadOnlySpan<byte> input, int position) =>
        (uint)position < (uint)input.Length ? input[position] : throw new InvalidDataException("the stream is cut off");
}
