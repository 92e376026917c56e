using System.Buffers.Binary;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Places a kernel into guest memory and says how the boot processor enters it.</summary>
/// <remarks>
/// Sources: Linux Documentation/x86/boot.rst and zero-page.rst; the PVH start information of the Xen public headers; the
/// Multiboot specification 0.6.96. Stateless; memory that was used before must have been zeroed by the caller.
/// </remarks>
public static class KernelLoader
{
    /// <summary>Loads a kernel.</summary>
    /// <param name="options">What to load.</param>
    /// <param name="space">The guest's memory; all RAM is written as needed, nothing is mapped or unmapped.</param>
    /// <exception cref="BootException">A file is missing, unreadable, damaged, of an unknown kind or too big for the guest.</exception>
    public static LoadedKernel Load(BootOptions options, GpaSpace space)
    {
        using var kernel = BootFile.Read(options.KernelPath, "kernel");
        var content = kernel.Span;
        if (content.Length > 0x264 && BinaryPrimitives.ReadUInt32LittleEndian(content[0x202..]) == SetupHeader.Magic)
        {
            return BzImageLoader.Load(options, content, space);
        }

        if (MultibootHeader.TryFind(content, out var header))
        {
            return MultibootLoader.Load(options, content, header, space);
        }

        if (ElfImage.IsElf(content))
        {
            return PvhLoader.Load(options, content, space);
        }

        throw new BootException(
            options.KernelPath,
            "it is neither a Linux bzImage nor a PVH or multiboot kernel",
            "give the vmlinuz of a Linux distribution or an ELF kernel with a PVH note or a multiboot header");
    }
}
