using Vitro.Hypervisor.Vid;

namespace Vitro.Firmware.Acpi;

/// <summary>The finished ACPI tables: one block of bytes for one address.</summary>
/// <param name="RsdpAddress">Guest physical address of the root pointer, where the block begins.</param>
/// <param name="Image">The block.</param>
/// <param name="Tables">The tables by signature, for tests and inspection.</param>
public sealed record AcpiTables(ulong RsdpAddress, byte[] Image, IReadOnlyDictionary<string, byte[]> Tables)
{
    /// <summary>Where the tables lie by default: guests without EFI search from here.</summary>
    public const ulong DefaultAddress = 0xE_0000;

    /// <summary>The address after the last that the tables may use.</summary>
    public const ulong DefaultEnd = 0xF_0000;

    /// <summary>Writes the tables into guest memory.</summary>
    /// <exception cref="InvalidOperationException">There is no RAM at the address.</exception>
    public void Place(GpaSpace space)
    {
        if (!space.TryWrite(RsdpAddress, Image))
        {
            throw new InvalidOperationException($"GPA 0x{RsdpAddress:x} is not RAM.");
        }
    }
}
