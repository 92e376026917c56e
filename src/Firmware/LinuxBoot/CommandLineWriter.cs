using System.Text;
using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>Checks a kernel command line and places it.</summary>
internal static class CommandLineWriter
{
    internal static byte[] Encode(string commandLine, ulong limit)
    {
        limit = Math.Min(limit, BootLayout.CommandLineSize - 1);
        var bytes = new byte[Encoding.UTF8.GetByteCount(commandLine) + 1];
        Encoding.UTF8.GetBytes(commandLine, bytes);
        if ((ulong)bytes.Length - 1 > limit)
        {
            throw new BootException("--append", $"the command line has {bytes.Length - 1} bytes and the kernel takes {limit}", "shorten it");
        }

        return bytes.AsSpan(0, bytes.Length - 1).ContainsAnyInRange<byte>(0, 0x1F)
            ? throw new BootException("--append", "the command line holds a control character", "remove it")
            : bytes;
    }

    /// <summary>Writes the command line with its terminating zero to <see cref="BootLayout.CommandLine"/>.</summary>
    internal static void Place(string commandLine, ulong limit, GpaSpace space) =>
        GuestWriter.Copy(space, BootLayout.CommandLine, Encode(commandLine, limit));
}
