using System.Buffers.Binary;
using System.Text;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Loads a multiboot 1 kernel: 32-bit protected mode, EAX the magic number, EBX the information structure.</summary>
/// <remarks>Source: Multiboot Specification 0.6.96. Modules get their file names as their strings; no video mode is set.</remarks>
internal static class MultibootLoader
{
    private const uint LoaderMagic = 0x2BAD_B002;
    private const int MaximumModules = 64;

    /// <summary>Mandatory requests that are served: modules on page borders, the memory map.</summary>
    private const uint KnownRequests = 0x3;

    private const int ModuleTable = 0x100;
    private const int MapTable = ModuleTable + (MaximumModules * 16);
    private const int Strings = 0x900;

    internal static LoadedKernel Load(BootOptions options, ReadOnlySpan<byte> file, MultibootHeader header, GpaSpace space)
    {
        var path = options.KernelPath;
        if ((header.Flags & 0xFFFF & ~(KnownRequests | 4)) != 0)
        {
            throw new BootException(path, $"its multiboot header asks for features 0x{header.Flags & 0xFFFF:x}", "build it without them");
        }

        if (options.InitrdPaths.Count > MaximumModules)
        {
            throw new BootException(options.InitrdPaths[MaximumModules], $"there are more than {MaximumModules} modules", "join some");
        }

        var (entry, end) = header.HasAddresses ? LoadByHeader(path, file, header, space) : LoadElf(path, file, space);
        var modules = ModulePlacer.Place(options.InitrdPaths, end, space.Ram.LowRamSize, space);
        CommandLineWriter.Place(options.CommandLine, BootLayout.CommandLineSize - 1, space);
        GuestWriter.Copy(space, BootLayout.StartInfo, Describe(modules, space));
        return new LoadedKernel(
            BootProtocol.Multiboot,
            EntryState.Protected(space, entry, LoaderMagic, BootLayout.StartInfo),
            $"multiboot kernel at 0x{entry:x}, {modules.Count} modules");
    }

    private static (ulong Entry, ulong End) LoadElf(string path, ReadOnlySpan<byte> file, GpaSpace space)
    {
        try
        {
            var image = ElfImage.Parse(file);
            return image.TryPlace(file, space)
                ? (image.Entry, (image.HighestAddress + 0xFFF) & ~0xFFFUL)
                : throw new InvalidDataException(
                    $"its segments at 0x{image.LowestAddress:x} to 0x{image.HighestAddress:x} do not lie in RAM above 1 MiB");
        }
        catch (InvalidDataException error)
        {
            throw new BootException(path, error.Message, "link it for RAM above 1 MiB or give the machine more memory", error);
        }
    }

    private static (ulong Entry, ulong End) LoadByHeader(string path, ReadOnlySpan<byte> file, MultibootHeader header, GpaSpace space)
    {
        var start = header.FileOffset - ((long)header.HeaderAddress - header.LoadAddress);
        var length = header.LoadEnd == 0 ? file.Length - start : (long)header.LoadEnd - header.LoadAddress;
        if (header.HeaderAddress < header.LoadAddress || start < 0 || length <= 0 || start + length > file.Length)
        {
            throw new BootException(path, "the addresses in its multiboot header do not fit its size", "build it again");
        }

        var end = Math.Max((ulong)header.LoadAddress + (ulong)length, header.ZeroEnd);
        if (header.LoadAddress < BootLayout.HighMemory || end > space.Ram.LowRamSize)
        {
            throw new BootException(path, $"it loads at 0x{header.LoadAddress:x} to 0x{end:x}, outside RAM", "give the machine more memory");
        }

        GuestWriter.Copy(space, header.LoadAddress, file.Slice((int)start, (int)length));
        var loaded = (ulong)header.LoadAddress + (ulong)length;
        GuestWriter.Zero(space, loaded, end - loaded);
        return (header.Entry, (end + 0xFFF) & ~0xFFFUL);
    }

    private static byte[] Describe(List<PlacedModule> modules, GpaSpace space)
    {
        var page = new byte[BootLayout.StartInfoSize];
        var strings = Strings;
        var map = MemoryMap.Describe(space.Ram);
        Put(page, 0, 0x4D | (modules.Count > 0 ? 0x8u : 0) | 0x200);
        Put(page, 4, (uint)(BootLayout.BaseMemoryEnd >> 10));
        Put(page, 8, (uint)((space.Ram.LowRamSize - BootLayout.HighMemory) >> 10));
        Put(page, 16, (uint)BootLayout.CommandLine);
        Put(page, 20, (uint)modules.Count);
        Put(page, 24, (uint)BootLayout.StartInfo + ModuleTable);
        Put(page, 44, (uint)map.Count * 24);
        Put(page, 48, (uint)BootLayout.StartInfo + MapTable);
        Put(page, 64, (uint)BootLayout.StartInfo + (uint)AddString(page, ref strings, "Vitro"));
        for (var index = 0; index < modules.Count; index++)
        {
            var at = ModuleTable + (index * 16);
            Put(page, at, (uint)modules[index].Start);
            Put(page, at + 4, (uint)modules[index].End);
            Put(page, at + 8, (uint)BootLayout.StartInfo + (uint)AddString(page, ref strings, Path.GetFileName(modules[index].Path)));
        }

        for (var index = 0; index < map.Count; index++)
        {
            var at = MapTable + (index * 24);
            Put(page, at, 20);
            BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(at + 4), map[index].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(page.AsSpan(at + 12), map[index].Length);
            Put(page, at + 20, (uint)map[index].Kind);
        }

        return page;
    }

    /// <summary>Adds a string, cut to what is left of the page so that long file names do no harm.</summary>
    private static int AddString(byte[] page, ref int position, string text)
    {
        var start = position;
        Encoding.UTF8.TryGetBytes(text, page.AsSpan(start, page.Length - start - 1), out var count);
        position = Math.Min(start + count + 1, page.Length - 1);
        return start;
    }

    private static void Put(byte[] page, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(page.AsSpan(offset), value);
}
