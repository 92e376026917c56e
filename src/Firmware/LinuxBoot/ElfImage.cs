using System.Buffers.Binary;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>A loadable segment of an ELF file whose file range has been checked.</summary>
/// <param name="FileOffset">Where its bytes begin in the file.</param>
/// <param name="FileSize">Bytes in the file.</param>
/// <param name="Physical">Guest physical address.</param>
/// <param name="MemorySize">Bytes in memory; those past the file's are zero.</param>
internal readonly record struct ElfSegment(int FileOffset, int FileSize, ulong Physical, ulong MemorySize)
{
    internal ulong End => Physical + MemorySize;
}

/// <summary>The parts of an x86 ELF executable that a loader needs, from a 32-bit or 64-bit file.</summary>
internal sealed class ElfImage
{
    private const int MaximumProgramHeaders = 128;
    private const uint TypeLoad = 1;
    private const uint TypeNote = 4;

    private ElfImage()
    {
    }

    internal required bool Is64Bit { get; init; }

    internal required ulong Entry { get; init; }

    internal required IReadOnlyList<ElfSegment> Segments { get; init; }

    /// <summary>File ranges of the note segments.</summary>
    internal required IReadOnlyList<Range> Notes { get; init; }

    internal ulong LowestAddress => Segments.Min(segment => segment.Physical);

    internal ulong HighestAddress => Segments.Max(segment => segment.End);

    internal static bool IsElf(ReadOnlySpan<byte> file) => file is [0x7F, (byte)'E', (byte)'L', (byte)'F', ..];

    /// <summary>Parses the headers; every range that comes back lies within the file and below 4 GiB of guest memory.</summary>
    /// <exception cref="InvalidDataException">The file is damaged or for another machine.</exception>
    internal static ElfImage Parse(ReadOnlySpan<byte> file)
    {
        if (file.Length < 64 || !IsElf(file) || file[5] != 1)
        {
            throw new InvalidDataException("the ELF header is damaged");
        }

        var is64 = file[4] == 2;
        int machine = BinaryPrimitives.ReadUInt16LittleEndian(file[18..]);
        if (machine != (is64 ? 62 : 3) || (!is64 && file[4] != 1))
        {
            throw new InvalidDataException("the ELF file is not for x86");
        }

        var entry = is64 ? U64(file, 24) : U32(file, 24);
        var table = is64 ? U64(file, 32) : U32(file, 28);
        int entrySize = BinaryPrimitives.ReadUInt16LittleEndian(file[(is64 ? 54 : 42)..]);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(file[(is64 ? 56 : 44)..]);
        if (entrySize < (is64 ? 56 : 32) || count is 0 or > MaximumProgramHeaders
            || table > (ulong)file.Length || (ulong)(entrySize * count) > (ulong)file.Length - table)
        {
            throw new InvalidDataException("the ELF program headers are out of range");
        }

        var segments = new List<ElfSegment>();
        var notes = new List<Range>();
        for (var index = 0; index < count; index++)
        {
            var header = file.Slice((int)table + (index * entrySize), entrySize);
            var type = U32(header, 0);
            if (type is not (TypeLoad or TypeNote))
            {
                continue;
            }

            var offset = is64 ? U64(header, 8) : U32(header, 4);
            var physical = is64 ? U64(header, 24) : U32(header, 12);
            var fileSize = is64 ? U64(header, 32) : U32(header, 16);
            var memorySize = is64 ? U64(header, 40) : U32(header, 20);
            if (offset > (ulong)file.Length || fileSize > (ulong)file.Length - offset)
            {
                throw new InvalidDataException("an ELF segment reaches past the end of the file");
            }

            if (type == TypeNote)
            {
                notes.Add((int)offset..(int)(offset + fileSize));
            }
            else if (memorySize != 0)
            {
                if (fileSize > memorySize || physical >= 1UL << 32 || memorySize > (1UL << 32) - physical)
                {
                    throw new InvalidDataException("an ELF segment lies outside the first 4 GiB");
                }

                segments.Add(new ElfSegment((int)offset, (int)fileSize, physical, memorySize));
            }
        }

        return segments.Count == 0
            ? throw new InvalidDataException("the ELF file has nothing to load")
            : new ElfImage { Is64Bit = is64, Entry = entry, Segments = segments, Notes = notes };
    }

    /// <summary>Copies the segments into RAM and zeroes the rest of each. False when one does not lie in RAM above 1 MiB.</summary>
    internal bool TryPlace(ReadOnlySpan<byte> file, GpaSpace space)
    {
        foreach (var segment in Segments)
        {
            if (segment.Physical < BootLayout.HighMemory || segment.End > space.Ram.LowRamSize)
            {
                return false;
            }
        }

        foreach (var segment in Segments)
        {
            GuestWriter.Copy(space, segment.Physical, file.Slice(segment.FileOffset, segment.FileSize));
            GuestWriter.Zero(space, segment.Physical + (ulong)segment.FileSize, segment.MemorySize - (ulong)segment.FileSize);
        }

        return true;
    }

    private static uint U32(ReadOnlySpan<byte> data, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(data[offset..]);

    private static ulong U64(ReadOnlySpan<byte> data, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(data[offset..]);
}
