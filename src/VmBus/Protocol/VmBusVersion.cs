using System.Globalization;

namespace Vitro.VmBus.Protocol;

/// <summary>A VMBus protocol version: major in the upper half, minor in the lower.</summary>
/// <param name="Value">As on the wire.</param>
public readonly record struct VmBusVersion(uint Value) : IComparable<VmBusVersion>
{
    /// <summary>Windows 8 and Server 2012: the first with one connection and event flag for each channel.</summary>
    public static readonly VmBusVersion V3_0 = new(0x0003_0000);

    /// <summary>Windows 8.1: hypervisor sockets.</summary>
    public static readonly VmBusVersion V4_0 = new(0x0004_0000);

    /// <summary>Windows 10: moving a channel's interrupt.</summary>
    public static readonly VmBusVersion V4_1 = new(0x0004_0001);

    /// <summary>Windows 10 1803: the connection id and SINT are negotiated.</summary>
    public static readonly VmBusVersion V5_0 = new(0x0005_0000);

    /// <summary>Windows 10 1809.</summary>
    public static readonly VmBusVersion V5_1 = new(0x0005_0001);

    /// <summary>Windows 10 1903.</summary>
    public static readonly VmBusVersion V5_2 = new(0x0005_0002);

    /// <summary>Windows Server 2022: moving a channel's interrupt is answered.</summary>
    public static readonly VmBusVersion V5_3 = new(0x0005_0003);

    /// <summary>The versions this host speaks, oldest first.</summary>
    public static IReadOnlyList<VmBusVersion> Supported { get; } = [V3_0, V4_0, V4_1, V5_0, V5_1, V5_2, V5_3];

    /// <summary>Whether this host speaks the version.</summary>
    public bool IsSupported => Value is 0x0003_0000 or 0x0004_0000 or 0x0004_0001 or 0x0005_0000 or 0x0005_0001 or 0x0005_0002 or 0x0005_0003;

    public static bool operator <(VmBusVersion left, VmBusVersion right) => left.Value < right.Value;

    public static bool operator >(VmBusVersion left, VmBusVersion right) => left.Value > right.Value;

    public static bool operator <=(VmBusVersion left, VmBusVersion right) => left.Value <= right.Value;

    public static bool operator >=(VmBusVersion left, VmBusVersion right) => left.Value >= right.Value;

    /// <inheritdoc/>
    public int CompareTo(VmBusVersion other) => Value.CompareTo(other.Value);

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Value >> 16}.{Value & 0xFFFF}");
}
