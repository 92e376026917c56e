namespace Vitro.Firmware.Smbios;

/// <summary>What the SMBIOS tables tell the guest of its machine.</summary>
public sealed record SmbiosDescription
{
    /// <summary>Identity of the machine, stable over its life; guests read it as the product UUID.</summary>
    public required Guid MachineId { get; init; }

    /// <summary>Bytes of RAM.</summary>
    public required ulong MemoryBytes { get; init; }

    /// <summary>Number of virtual processors.</summary>
    public required int ProcessorCount { get; init; }

    /// <summary>Product version, shown as the firmware's version too.</summary>
    public required string Version { get; init; }

    /// <summary>Serial number of system and chassis; printable ASCII.</summary>
    public string SerialNumber { get; init; } = "None";
}
