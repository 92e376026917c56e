using System.Buffers.Binary;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>The checked setup header of a bzImage (Linux Documentation/x86/boot.rst).</summary>
internal sealed class SetupHeader
{
    /// <summary>"HdrS" at file offset 0x202.</summary>
    internal const uint Magic = 0x5372_6448;

    /// <summary>The header lies at this offset of the file and of the boot parameters.</summary>
    internal const int Offset = 0x1F1;

    /// <summary>Protocol 2.12 brought the 64-bit entry (2012).</summary>
    private const int MinimumVersion = 0x020C;

    private const int SectorSize = 512;

    private SetupHeader()
    {
    }

    internal required int Version { get; init; }

    /// <summary>File offset of the protected-mode code.</summary>
    internal required int KernelOffset { get; init; }

    /// <summary>Length of the header from <see cref="Offset"/>.</summary>
    internal required int Length { get; init; }

    internal required uint InitrdMaximum { get; init; }

    internal required uint Alignment { get; init; }

    internal required bool Relocatable { get; init; }

    internal required uint CommandLineMaximum { get; init; }

    /// <summary>File offset and length of the compressed kernel; empty when the header has none.</summary>
    internal required Range Payload { get; init; }

    internal required ulong PreferredAddress { get; init; }

    /// <summary>Bytes from the load address that the kernel uses before it has read the memory map.</summary>
    internal required uint InitSize { get; init; }

    /// <summary>The version string, for logs; "unknown" when the header names none.</summary>
    internal required string KernelVersion { get; init; }

    internal static SetupHeader Parse(string path, ReadOnlySpan<byte> file)
    {
        var version = U16(file, 0x206);
        if (U16(file, 0x1FE) != 0xAA55)
        {
            throw Damaged(path, "its boot signature is missing");
        }

        if (version < MinimumVersion || (U16(file, 0x236) & 1) == 0)
        {
            throw new BootException(
                path,
                $"boot protocol {version >> 8}.{version & 0xFF} has no 64-bit entry",
                "give a 64-bit x86 kernel of version 3.8 or later");
        }

        if ((file[0x211] & 1) == 0)
        {
            throw new BootException(path, "it is a zImage, which loads below 1 MiB", "give a bzImage");
        }

        int sectors = file[0x1F1];
        var kernelOffset = ((sectors == 0 ? 4 : sectors) + 1) * SectorSize;
        if (kernelOffset + 0x400 > file.Length)
        {
            throw Damaged(path, "it ends before the kernel begins");
        }

        // The jump instruction at 0x200 skips the header, and so tells its end.
        var length = 0x202 + file[0x201] - Offset;
        if (Offset + length < 0x268)
        {
            throw Damaged(path, "its setup header is shorter than its version demands");
        }

        var preferred = U64(file, 0x258);
        var alignment = U32(file, 0x230);
        var initSize = U32(file, 0x260);
        if (preferred < BootLayout.HighMemory || preferred % 0x1000 != 0 || preferred >= 1UL << 32 || initSize > 1U << 31)
        {
            throw Damaged(path, $"its load address 0x{preferred:x} or size 0x{initSize:x} is out of range");
        }

        return new SetupHeader
        {
            Version = version,
            KernelOffset = kernelOffset,
            Length = Math.Min(length, 0x290 - Offset),
            InitrdMaximum = U32(file, 0x22C),
            Alignment = alignment,
            Relocatable = file[0x234] != 0,
            CommandLineMaximum = U32(file, 0x238),
            Payload = ParsePayload(path, file, kernelOffset),
            PreferredAddress = preferred,
            InitSize = initSize,
            KernelVersion = ParseVersion(file),
        };
    }

    private static Range ParsePayload(string path, ReadOnlySpan<byte> file, int kernelOffset)
    {
        long start = kernelOffset + (long)U32(file, 0x248);
        long end = start + U32(file, 0x24C);
        if (end > file.Length)
        {
            throw Damaged(path, "its compressed payload is cut off");
        }

        return (int)start..(int)end;
    }

    private static string ParseVersion(ReadOnlySpan<byte> file)
    {
        int offset = U16(file, 0x20E);
        if (offset == 0 || offset + 0x200 >= file.Length)
        {
            return "unknown";
        }

        var text = file[(offset + 0x200)..];
        text = text[..Math.Min(text.Length, 128)];
        var end = text.IndexOfAnyExceptInRange((byte)0x21, (byte)0x7E);
        return end <= 0 ? "unknown" : System.Text.Encoding.ASCII.GetString(text[..end]);
    }

    private static BootException Damaged(string path, string cause) => new(path, cause, "the file is damaged: copy or download it again");

    private static ushort U16(ReadOnlySpan<byte> file, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(file[offset..]);

    private static uint U32(ReadOnlySpan<byte> file, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(file[offset..]);

    private static ulong U64(ReadOnlySpan<byte> file, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(file[offset..]);
}
