using Vitro.Foundation;

namespace Vitro.Chipset;

/// <summary>What a standard chipset is made of.</summary>
public sealed record ChipsetOptions
{
    /// <summary>1 to 64.</summary>
    public required int ProcessorCount { get; init; }

    /// <summary>The machine's clock.</summary>
    public required VmClock Clock { get; init; }

    /// <summary>Told of reset, power-off and debug exit.</summary>
    public required IPowerEvents PowerEvents { get; init; }

    /// <summary>Guest memory below 4 GiB in bytes, for the CMOS.</summary>
    public ulong LowMemoryBytes { get; init; }

    /// <summary>Guest memory above 4 GiB in bytes, for the CMOS.</summary>
    public ulong HighMemoryBytes { get; init; }

    /// <summary>Where COM1, COM2 and so on lead, up to four; a null entry leaves the port out of the machine.</summary>
    public IReadOnlyList<ISerialBackend?> SerialBackends { get; init; } = [];

    /// <summary>The debug-exit port is there.</summary>
    public bool HasDebugExit { get; init; }

    /// <summary>x2APIC mode can be entered; CPUID leaf 1 ECX bit 21 must say the same.</summary>
    public bool HasX2Apic { get; init; } = true;

    /// <summary>
    /// Converts a time stamp counter value to the clock's nanoseconds and so offers TSC-deadline mode (CPUID leaf 1 ECX
    /// bit 24 must say the same); null when it is not offered.
    /// </summary>
    public Func<ulong, long>? TscToNanoseconds { get; init; }
}
