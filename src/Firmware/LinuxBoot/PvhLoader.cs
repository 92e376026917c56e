using System.Buffers.Binary;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Loads an ELF kernel with a PVH entry: 32-bit protected mode, EBX the start information.</summary>
/// <remarks>Source: Xen public headers, arch-x86/hvm/start_info.h (version 1 of the structure) and elfnote.h.</remarks>
internal static class PvhLoader
{
    private const uint StartMagic = 0x336E_C578;
    private const uint PhysicalEntryNote = 18;
    private const int MaximumModules = 64;
    private const int ModuleTable = 0x100;
    private const int ModuleSize = 32;
    private const int MapTable = ModuleTable + (MaximumModules * ModuleSize);
    private const int MapEntrySize = 24;

    internal static LoadedKernel Load(BootOptions options, ReadOnlySpan<byte> file, GpaSpace space)
    {
        var path = options.KernelPath;
        try
        {
            var image = ElfImage.Parse(file);
            if (!TryFindEntry(image, file, out var entry))
            {
                throw new BootException(
                    path,
                    "the ELF file has neither a PVH entry note nor a multiboot header",
                    "give a bzImage, or a Linux kernel built with CONFIG_PVH");
            }

            if (!image.TryPlace(file, space))
            {
                throw new BootException(
                    path,
                    $"its segments at 0x{image.LowestAddress:x} to 0x{image.HighestAddress:x} do not lie in RAM above 1 MiB",
                    "give the machine more memory");
            }

            if (options.InitrdPaths.Count > MaximumModules)
            {
                throw new BootException(options.InitrdPaths[MaximumModules], $"there are more than {MaximumModules} modules", "join some");
            }

            var floor = (image.HighestAddress + 0xFFF) & ~0xFFFUL;
            var modules = ModulePlacer.Place(options.InitrdPaths, floor, space.Ram.LowRamSize, space);
            CommandLineWriter.Place(options.CommandLine, BootLayout.CommandLineSize - 1, space);
            GuestWriter.Copy(space, BootLayout.StartInfo, Describe(modules, options.RsdpAddress, space));
            return new LoadedKernel(
                BootProtocol.Pvh,
                EntryState.Protected(space, entry, 0, BootLayout.StartInfo),
                $"PVH kernel at 0x{entry:x}, {modules.Count} modules");
        }
        catch (InvalidDataException error)
        {
            throw new BootException(path, error.Message, "the file is damaged: copy or build it again", error);
        }
    }

    private static bool TryFindEntry(ElfImage image, ReadOnlySpan<byte> file, out ulong entry)
    {
        foreach (var range in image.Notes)
        {
            var notes = file[range];
            while (notes.Length >= 12)
            {
                var nameSize = BinaryPrimitives.ReadUInt32LittleEndian(notes);
                var size = BinaryPrimitives.ReadUInt32LittleEndian(notes[4..]);
                var type = BinaryPrimitives.ReadUInt32LittleEndian(notes[8..]);
                var content = 12 + (((long)nameSize + 3) & ~3L);
                var next = content + (((long)size + 3) & ~3L);
                if (content + size > notes.Length)
                {
                    break;
                }

                if (type == PhysicalEntryNote && size >= 4 && nameSize == 4 && notes.Slice(12, 4).SequenceEqual("Xen\0"u8))
                {
                    entry = BinaryPrimitives.ReadUInt32LittleEndian(notes[(int)content..]);
                    return true;
                }

                notes = next >= notes.Length ? [] : notes[(int)next..];
            }
        }

        entry = 0;
        return false;
    }

    private static byte[] Describe(List<PlacedModule> modules, ulong rsdpAddress, GpaSpace space)
    {
        var page = new byte[BootLayout.StartInfoSize];
        var map = MemoryMap.Describe(space.Ram);
        Put32(page, 0, StartMagic);
        Put32(page, 4, 1);
        Put32(page, 12, (uint)modules.Count);
        Put64(page, 16, modules.Count == 0 ? 0 : BootLayout.StartInfo + ModuleTable);
        Put64(page, 24, BootLayout.CommandLine);
        Put64(page, 32, rsdpAddress);
        Put64(page, 40, BootLayout.StartInfo + MapTable);
        Put32(page, 48, (uint)map.Count);
        for (var index = 0; index < modules.Count; index++)
        {
            Put64(page, ModuleTable + (index * ModuleSize), modules[index].Start);
            Put64(page, ModuleTable + (index * ModuleSize) + 8, modules[index].Length);
        }

        for (var index = 0; index < map.Count; index++)
        {
            var at = MapTable + (index * MapEntrySize);
            Put64(page, at, map[index].Start);
            Put64(page, at + 8, map[index].Length);
            Put32(page, at + 16, (uint)map[index].Kind);
        }

        return page;
    }

    private static void Put32(byte[] page, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(offset), value);

    private static void Put64(byte[] page, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(offset), value);
}
