using System.Buffers.Binary;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>A multiboot 1 header, found by magic number and checksum in the first 8 KiB of a file.</summary>
/// <param name="Flags">What the kernel asks for.</param>
/// <param name="FileOffset">Where the header lies.</param>
/// <param name="HeaderAddress">Address of the header itself, when <see cref="HasAddresses"/>.</param>
/// <param name="LoadAddress">Address of the first byte to load.</param>
/// <param name="LoadEnd">Address after the last byte to load; 0 for the whole file.</param>
/// <param name="ZeroEnd">Address after the zeroed part; 0 for none.</param>
/// <param name="Entry">Entry address.</param>
internal readonly record struct MultibootHeader(
    uint Flags, int FileOffset, uint HeaderAddress, uint LoadAddress, uint LoadEnd, uint ZeroEnd, uint Entry)
{
    private const uint Magic = 0x1BAD_B002;
    private const int SearchLength = 8192;

    /// <summary>The header's own addresses take the place of ELF segments.</summary>
    internal bool HasAddresses => (Flags & 0x1_0000) != 0;

    internal static bool TryFind(ReadOnlySpan<byte> file, out MultibootHeader header)
    {
        for (var offset = 0; offset + 12 <= Math.Min(file.Length, SearchLength); offset += 4)
        {
            if (U32(file, offset) != Magic || U32(file, offset) + U32(file, offset + 4) + U32(file, offset + 8) != 0)
            {
                continue;
            }

            var flags = U32(file, offset + 4);
            var addresses = (flags & 0x1_0000) != 0 && offset + 32 <= file.Length;
            header = addresses
                ? new(
                    flags,
                    offset,
                    U32(file, offset + 12),
                    U32(file, offset + 16),
                    U32(file, offset + 20),
                    U32(file, offset + 24),
                    U32(file, offset + 28))
                : new(flags & ~0x1_0000u, offset, 0, 0, 0, 0, 0);
            return true;
        }

        header = default;
        return false;
    }

    private static uint U32(ReadOnlySpan<byte> file, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(file[offset..]);
}
