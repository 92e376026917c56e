using System.Buffers.Binary;
using System.IO.Compression;
using K4os.Compression.LZ4;
using Vitro.Platform;
using ZstdSharp;

namespace Vitro.Firmware.LinuxBoot.Payload;

/// <summary>
/// Unpacks the compressed kernel inside a bzImage. The kernel's build appends the unpacked size as four bytes to every
/// format; gzip ends with such a field by itself.
/// </summary>
internal static unsafe class KernelPayload
{
    /// <summary>The format of a payload, null when it is none that can be unpacked here (bzip2, lzma, lzo).</summary>
    internal static string? DetectFormat(ReadOnlySpan<byte> payload) => payload switch
    {
        { Length: < 32 } => null,
        [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => "xz",
        [0x1F, 0x8B, 8, ..] => "gzip",
        [0x28, 0xB5, 0x2F, 0xFD, ..] => "zstd",
        [0x02, 0x21, 0x4C, 0x18, ..] => "lz4",
        _ => null,
    };

    /// <summary>The size in the last four bytes; the caller bounds it.</summary>
    internal static uint UnpackedSize(ReadOnlySpan<byte> payload) => BinaryPrimitives.ReadUInt32LittleEndian(payload[^4..]);

    /// <summary>Unpacks a payload.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="InvalidDataException">The payload is damaged or does not fit into <paramref name="output"/>.</exception>
    internal static int Unpack(string format, ReadOnlySpan<byte> payload, Span<byte> output)
    {
        try
        {
            return format switch
            {
                "xz" => Liblzma.DecodeXz(payload, output),
                "gzip" => UnpackGzip(payload, output),
                "zstd" => UnpackZstd(payload[..^4], output),
                _ => UnpackLz4(payload[..^4], output),
            };
        }
        catch (Exception error) when (error is ZstdException or ArgumentException or IndexOutOfRangeException)
        {
            throw new InvalidDataException(error.Message, error);
        }
    }

    private static int UnpackGzip(ReadOnlySpan<byte> payload, Span<byte> output)
    {
        fixed (byte* address = payload)
        {
            using var source = new UnmanagedMemoryStream(address, payload.Length);
            using var stream = new GZipStream(source, CompressionMode.Decompress);
            return stream.ReadAtLeast(output, output.Length, throwOnEndOfStream: false);
        }
    }

    private static int UnpackZstd(ReadOnlySpan<byte> payload, Span<byte> output)
    {
        fixed (byte* address = payload)
        {
            using var source = new UnmanagedMemoryStream(address, payload.Length);
            using var stream = new DecompressionStream(source);
            return stream.ReadAtLeast(output, output.Length, throwOnEndOfStream: false);
        }
    }

    /// <summary>The legacy frame: a magic number, then blocks of up to 8 MiB with their packed sizes before them.</summary>
    private static int UnpackLz4(ReadOnlySpan<byte> payload, Span<byte> output)
    {
        const int BlockSize = 8 << 20;
        var done = 0;
        payload = payload[4..];
        while (payload.Length >= 4)
        {
            var size = BinaryPrimitives.ReadUInt32LittleEndian(payload);
            if (size == 0 || size > (uint)(payload.Length - 4))
            {
                throw new InvalidDataException("a block is cut off");
            }

            var room = output.Slice(done, Math.Min(BlockSize, output.Length - done));
            var count = LZ4Codec.Decode(payload.Slice(4, (int)size), room);
            if (count < 0)
            {
                throw new InvalidDataException("a block is damaged");
            }

            done += count;
            payload = payload[(4 + (int)size)..];
        }

        return done;
    }
}
