using System.Buffers.Binary;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Writes the Linux boot parameters, the "zero page" (Documentation/x86/zero-page.rst).</summary>
internal static class BootParametersWriter
{
    private const int RsdpAddress = 0x070;
    private const int InitrdImageHigh = 0x0C0;
    private const int InitrdSizeHigh = 0x0C4;
    private const int MapEntries = 0x1E8;
    private const int LoaderType = 0x210;
    private const int LoadFlags = 0x211;
    private const int InitrdImage = 0x218;
    private const int InitrdSize = 0x21C;
    private const int CommandLinePointer = 0x228;
    private const int MapTable = 0x2D0;
    private const int MapEntrySize = 20;

    /// <summary>A boot loader without an assigned number.</summary>
    private const byte UndefinedLoader = 0xFF;

    /// <summary>Set by a decompressor that chose a random address; the kernel proper believes it.</summary>
    private const byte RandomizedFlag = 0x02;

    internal static void Write(SetupHeader header, ReadOnlySpan<byte> file, PlacedModule initrd, ulong rsdpAddress, GpaSpace space)
    {
        Span<byte> page = new byte[GuestMemory.PageSize];
        file.Slice(SetupHeader.Offset, header.Length).CopyTo(page[SetupHeader.Offset..]);
        page[LoaderType] = UndefinedLoader;
        page[LoadFlags] &= unchecked((byte)~RandomizedFlag);
        BinaryPrimitives.WriteUInt64LittleEndian(page[RsdpAddress..], rsdpAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(page[InitrdImage..], (uint)initrd.Start);
        BinaryPrimitives.WriteUInt32LittleEndian(page[InitrdSize..], (uint)initrd.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(page[InitrdImageHigh..], (uint)(initrd.Start >> 32));
        BinaryPrimitives.WriteUInt32LittleEndian(page[InitrdSizeHigh..], (uint)(initrd.Length >> 32));
        BinaryPrimitives.WriteUInt32LittleEndian(page[CommandLinePointer..], (uint)BootLayout.CommandLine);

        var map = MemoryMap.Describe(space.Ram);
        page[MapEntries] = (byte)map.Count;
        for (var index = 0; index < map.Count; index++)
        {
            var entry = page.Slice(MapTable + (index * MapEntrySize), MapEntrySize);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, map[index].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], map[index].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], (uint)map[index].Kind);
        }

        GuestWriter.Copy(space, BootLayout.BootParameters, page);

        // The BIOS data area tells Linux where base memory ends.
        GuestWriter.Write16(space, BootLayout.BiosEbdaSegment, (ushort)(BootLayout.BaseMemoryEnd >> 4));
        GuestWriter.Write16(space, BootLayout.BiosBaseMemorySize, (ushort)(BootLayout.BaseMemoryEnd >> 10));
    }
}
