using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.Smbios;

/// <summary>The finished SMBIOS tables: the entry point and, behind it, the structures.</summary>
/// <param name="Address">Guest physical address of the entry point.</param>
/// <param name="Image">The block that lies there.</param>
public sealed record SmbiosTables(ulong Address, byte[] Image)
{
    /// <summary>Where the tables lie by default: guests without EFI look for the anchor on 16-byte borders from here to 1 MiB.</summary>
    public const ulong DefaultAddress = 0xF_0000;

    /// <summary>The address after the last that the tables may use.</summary>
    public const ulong DefaultEnd = 0x10_0000;

    /// <summary>Writes the tables into guest memory.</summary>
    /// <exception cref="InvalidOperationException">There is no RAM at the address.</exception>
    public void Place(GpaSpace space)
    {
        if (!space.TryWrite(Address, Image))
        {
            throw new InvalidOperationException($"GPA 0x{Address:x} is not RAM.");
        }
    }
}
