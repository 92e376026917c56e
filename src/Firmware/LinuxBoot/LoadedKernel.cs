using Vitro.Hypervisor.Engine;

namespace Vitro.Firmware.LinuxBoot;

/// <summary>How a kernel is entered.</summary>
public enum BootProtocol
{
    /// <summary>Linux 64-bit entry of the bzImage, whose own decompressor runs in the guest.</summary>
    LinuxCompressed,

    /// <summary>Linux 64-bit entry of the kernel proper, unpacked on the host.</summary>
    LinuxUnpacked,

    /// <summary>PVH: 32-bit protected mode with a start information page.</summary>
    Pvh,

    /// <summary>Multiboot 1: 32-bit protected mode with a multiboot information structure.</summary>
    Multiboot,
}

/// <summary>A kernel that lies in guest memory, and the state in which the boot processor enters it.</summary>
/// <param name="Protocol">How it is entered.</param>
/// <param name="State">The boot processor's state; other processors wait for a start-up IPI.</param>
/// <param name="Description">One line for a log: version or kind, load address, what was unpacked.</param>
public sealed record LoadedKernel(BootProtocol Protocol, VirtualProcessorState State, string Description);
