using System.Buffers.Binary;
using System.IO.Compression;
using K4os.Compression.LZ4;
using ZstdSharp;

namespace Vitro.UnitTests.Firmware;

/// <summary>Makes small kernels of each kind, and keeps them in a folder that goes away with the test.</summary>
internal sealed class KernelFiles : IDisposable
{
    internal const uint LoadAddress = 0x20_0000;
    internal const int SetupSectors = 4;
    private readonly string _folder = Directory.CreateTempSubdirectory("vitro-kernels-").FullName;

    internal string Write(string name, ReadOnlySpan<byte> content)
    {
        var path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, content);
        return path;
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Bytes that tell where they belong.</summary>
    internal static byte[] Pattern(int count) => [.. Enumerable.Range(0, count).Select(index => (byte)(index * 7))];

    /// <summary>A 64-bit ELF with one segment of <see cref="Pattern"/> bytes, zeroes behind it, and a PVH note when an entry is given.</summary>
    internal static byte[] Elf64(uint? pvhEntry = null, int content = 0x300, uint address = LoadAddress)
    {
        var file = new byte[0x200 + content];
        byte[] identity = [0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1];
        identity.CopyTo(file, 0);
        U16(file, 16, 2);
        U16(file, 18, 62);
        U32(file, 20, 1);
        U64(file, 24, address);
        U64(file, 32, 64);
        U16(file, 52, 64);
        U16(file, 54, 56);
        U16(file, 56, 2);
        U32(file, 64, 1);
        U64(file, 64 + 8, 0x200);
        U64(file, 64 + 24, address);
        U64(file, 64 + 32, (ulong)content);
        U64(file, 64 + 40, (ulong)content + 0x1000);
        U32(file, 120, pvhEntry is null ? 0u : 4u);
        U64(file, 120 + 8, 0x180);
        U64(file, 120 + 32, 20);
        U32(file, 0x180, 4);
        U32(file, 0x184, 4);
        U32(file, 0x188, 18);
        "Xen\0"u8.CopyTo(file.AsSpan(0x18C));
        U32(file, 0x190, pvhEntry ?? 0);
        Pattern(content).CopyTo(file, 0x200);
        return file;
    }

    /// <summary>A bzImage around a packed kernel.</summary>
    internal static byte[] BzImage(byte[] payload)
    {
        const int Kernel = (SetupSectors + 1) * 512;
        const int PayloadOffset = 0x400;
        var file = new byte[Kernel + PayloadOffset + payload.Length];
        file[0x1F1] = SetupSectors;
        U16(file, 0x1FE, 0xAA55);
        file[0x200] = 0xEB;
        file[0x201] = 0x6A;
        "HdrS"u8.CopyTo(file.AsSpan(0x202));
        U16(file, 0x206, 0x020F);
        U16(file, 0x20E, 0x300);
        "9.9.9-test (someone)\0"u8.CopyTo(file.AsSpan(0x500));
        file[0x211] = 3;
        U32(file, 0x22C, 0x7FFF_FFFF);
        U32(file, 0x230, 0x20_0000);
        file[0x234] = 1;
        U16(file, 0x236, 1);
        U32(file, 0x238, 2047);
        U32(file, 0x248, PayloadOffset);
        U32(file, 0x24C, (uint)payload.Length);
        U64(file, 0x258, LoadAddress);
        U32(file, 0x260, 0x10_0000);
        payload.CopyTo(file, Kernel + PayloadOffset);
        return file;
    }

    internal static byte[] Pack(string format, byte[] content)
    {
        byte[] size = BitConverter.GetBytes(content.Length);
        switch (format)
        {
            case "gzip":
                var packed = new MemoryStream();
                using (var gzip = new GZipStream(packed, CompressionLevel.Fastest, leaveOpen: true))
                {
                    gzip.Write(content);
                }

                return packed.ToArray();
            case "zstd":
                using (var compressor = new Compressor())
                {
                    return [.. compressor.Wrap(content), .. size];
                }

            case "lz4":
                var block = new byte[LZ4Codec.MaximumOutputSize(content.Length)];
                var count = LZ4Codec.Encode(content, block);
                return [0x02, 0x21, 0x4C, 0x18, .. BitConverter.GetBytes(count), .. block[..count], .. size];
            case "xz":
                return [.. Convert.FromBase64String(XzOfElf), .. size];
            default:
                throw new ArgumentOutOfRangeException(nameof(format));
        }
    }

    internal static void U16(byte[] file, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(offset), value);

    internal static void U32(byte[] file, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(offset), value);

    internal static void U64(byte[] file, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(offset), value);

    /// <summary><see cref="Elf64"/> with its defaults, packed by <c>xz --check=crc32 --x86 --lzma2</c>.</summary>
    private const string XzOfElf =
        "/Td6WFoAAAFpIt42AgEEACEBFgANhjUf4AT/AS9dAD+RRYRoPYmm2orMk+JO8ePLpJkNXihnXShU5DirTeV/ZKX+sWw+wcrdRqXbOP6HCVVTmN"
        + "W4n9QJtSwzeGGGF7OzhSddOMWlyBrXsm0Wqq+5h6FSqcWqLWL8MzE5jxT9L3P1OQVjclMJqKyfXk6MOcoNdbmDWRmYHe/g9+9fj8YfyNqkNvAQ"
        + "gw/OF6gAqXuzlTEs20Mq3upxNgxp6D9vmEzLSxoM17TE2OsQZAQowMr30OpnKnrph18yJ+g35p9cELXUn6xx9HNQt22lJi9pTmszZej1lWLKyc"
        + "vG7VAXQ5CNgjjzsUBYABQHbxpr43Y5dubEWqs3w0vi+26X+zqfH8L9ifGtV2pLZa4U5eeHthw/xPoiND6MzvcCyIEXeLtrtBak1QvWsR1ozR4j"
        + "ZVdDAAAAjUzSDQABxwKACgAAXJq2VT4wDYsCAAAAAAFZWg==";
}
