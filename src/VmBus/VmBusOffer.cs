namespace Vitro.VmBus;

/// <summary>What the guest is told about a service before it opens it.</summary>
public sealed record VmBusOffer
{
    /// <summary>The class of the service (<see cref="VmBusClass"/>): decides which driver binds.</summary>
    public required Guid InterfaceType { get; init; }

    /// <summary>This instance of the class; stable over restarts of the machine, since guests name devices after it.</summary>
    public required Guid InstanceId { get; init; }

    /// <summary>Name in the inspect tree and of the channel's worker; unique on the bus.</summary>
    public required string Name { get; init; }

    /// <summary>Offer flags; pipe services add <see cref="VmBusOfferFlags.NamedPipeMode"/> through <see cref="PipeMode"/>.</summary>
    public VmBusOfferFlags Flags { get; init; }

    /// <summary>MMIO space the driver will claim, in MiB.</summary>
    public ushort MmioMegabytes { get; init; }

    /// <summary>How a pipe service frames its data; null for services without pipe framing.</summary>
    public VmBusPipeMode? PipeMode { get; init; }

    /// <summary>Up to 120 bytes for the driver, 116 of a pipe service; the rest is zero.</summary>
    public ReadOnlyMemory<byte> UserDefined { get; init; }

    /// <summary>How many sub-channels the service may ask for at most.</summary>
    public int MaximumSubChannels { get; init; }
}

/// <summary>Offer flags.</summary>
[Flags]
public enum VmBusOfferFlags : ushort
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Guests may enumerate the interface from user mode.</summary>
    EnumerateDeviceInterface = 0x1,

    /// <summary>Data is framed as a pipe.</summary>
    NamedPipeMode = 0x10,

    /// <summary>A hypervisor socket.</summary>
    HvSocket = 0x2000,
}

/// <summary>How a pipe frames its data.</summary>
public enum VmBusPipeMode : uint
{
    /// <summary>A stream of bytes.</summary>
    Byte = 0,

    /// <summary>Messages keep their borders.</summary>
    Message = 4,
}
