using Vitro.Firmware.LinuxBoot.Payload;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Loads a Linux bzImage through its 64-bit entry, unpacked on the host when that is possible.</summary>
/// <remarks>
/// The 64-bit entry of the bzImage lies 0x200 behind its start. The kernel proper has the same entry conditions at its ELF
/// entry point, so the decompressor between them can be left out; it then neither relocates nor randomizes.
/// </remarks>
internal static class BzImageLoader
{
    private const int Entry64Offset = 0x200;

    internal static LoadedKernel Load(BootOptions options, ReadOnlySpan<byte> file, GpaSpace space)
    {
        var path = options.KernelPath;
        var header = SetupHeader.Parse(path, file);
        if (options.InitrdPaths.Count > 1)
        {
            throw new BootException(options.InitrdPaths[1], "Linux takes one initial RAM disk", "join the files with cat");
        }

        var end = header.PreferredAddress + Math.Max(header.InitSize, (ulong)(file.Length - header.KernelOffset));
        if (end > space.Ram.LowRamSize)
        {
            throw new BootException(
                path,
                $"this kernel needs {(end >> 20) + 1} MiB to start and the machine has {space.Ram.LowRamSize >> 20} MiB",
                "give the machine more memory");
        }

        CommandLineWriter.Place(options.CommandLine, header.CommandLineMaximum == 0 ? 255 : header.CommandLineMaximum, space);
        var (protocol, entry, detail) = LoadCode(options, header, file, space);
        var initrd = ModulePlacer.Place(options.InitrdPaths, end, (ulong)header.InitrdMaximum + 1, space).FirstOrDefault();
        BootParametersWriter.Write(header, file, initrd, options.RsdpAddress, space);
        return new LoadedKernel(
            protocol,
            EntryState.Long(space, entry, BootLayout.BootParameters),
            $"Linux {header.KernelVersion} at 0x{entry:x}, {detail}");
    }

    private static (BootProtocol Protocol, ulong Entry, string Detail) LoadCode(
        BootOptions options, SetupHeader header, ReadOnlySpan<byte> file, GpaSpace space)
    {
        var payload = file[header.Payload];
        if (options.UnpackOnHost && KernelPayload.DetectFormat(payload) is { } format)
        {
            return (BootProtocol.LinuxUnpacked, LoadUnpacked(options.KernelPath, format, header, payload, space), $"unpacked from {format}");
        }

        GuestWriter.Copy(space, header.PreferredAddress, file[header.KernelOffset..]);
        return (BootProtocol.LinuxCompressed, header.PreferredAddress + Entry64Offset, "unpacks itself");
    }

    private static ulong LoadUnpacked(string path, string format, SetupHeader header, ReadOnlySpan<byte> payload, GpaSpace space)
    {
        var size = KernelPayload.UnpackedSize(payload);
        if (size < 64 || size > 1 << 30)
        {
            throw Damaged(path, $"its unpacked size of {size} bytes is out of range");
        }

        using var unpacked = new ScratchBuffer((int)size);
        try
        {
            var written = KernelPayload.Unpack(format, payload, unpacked.Span);
            if (written != size)
            {
                throw new InvalidDataException($"it unpacks to {written} bytes instead of {size}");
            }

            var image = ElfImage.Parse(unpacked.Span);
            if (!image.Is64Bit || image.Entry < image.LowestAddress || image.Entry >= image.HighestAddress)
            {
                throw new InvalidDataException("it is no 64-bit kernel");
            }

            if (image.LowestAddress < header.PreferredAddress || image.HighestAddress > header.PreferredAddress + header.InitSize
                || !image.TryPlace(unpacked.Span, space))
            {
                throw new InvalidDataException("it lies outside the memory that its header asks for");
            }

            return image.Entry;
        }
        catch (PlatformNotSupportedException error)
        {
            throw new BootException(path, "the host cannot unpack it", error.Message, error);
        }
        catch (InvalidDataException error)
        {
            throw Damaged(path, $"its {format} payload is damaged ({error.Message})", error);
        }
    }

    private static BootException Damaged(string path, string cause, Exception? inner = null) =>
        new(path, cause, "copy or download the kernel again", inner);
}
