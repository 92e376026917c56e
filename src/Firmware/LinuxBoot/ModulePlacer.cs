using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>A module in guest memory.</summary>
internal readonly record struct PlacedModule(string Path, ulong Start, ulong Length)
{
    internal ulong End => Start + Length;
}

/// <summary>Places initial RAM disks and modules at the top of low RAM, each on a page of its own.</summary>
internal static class ModulePlacer
{
    /// <summary>Places files downward from <paramref name="top"/>, above <paramref name="floor"/>.</summary>
    internal static List<PlacedModule> Place(IReadOnlyList<string> paths, ulong floor, ulong top, GpaSpace space)
    {
        var placed = new List<PlacedModule>();
        top = Math.Min(top, space.Ram.LowRamSize) & ~0xFFFUL;
        foreach (var path in paths)
        {
            var length = (ulong)BootFile.Length(path, "initial RAM disk");
            if (length == 0)
            {
                throw new BootException(path, "the initial RAM disk is empty", "give a file with content or leave it out");
            }

            if (floor > top || length > top - floor)
            {
                throw new BootException(
                    path,
                    $"{length >> 20} MiB of initial RAM disk do not fit between the kernel's end at 0x{floor:x} and 0x{top:x}",
                    "give the machine more memory or a smaller file");
            }

            top = (top - length) & ~0xFFFUL;
            if (top < floor)
            {
                throw new BootException(path, "the initial RAM disk does not fit behind the kernel", "give the machine more memory");
            }

            BootFile.ReadToGuest(path, "initial RAM disk", (long)length, top, space);
            placed.Add(new PlacedModule(path, top, length));
        }

        return placed;
    }
}
