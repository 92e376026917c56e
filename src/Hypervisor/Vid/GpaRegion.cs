namespace Vitro.Hypervisor.Vid;

/// <summary>A range of guest physical addresses backed by host memory.</summary>
/// <param name="Start">First GPA, page aligned.</param>
/// <param name="Length">Bytes, whole pages.</param>
/// <param name="HostAddress">Host address of the first byte.</param>
/// <param name="Access">What the guest may do with it.</param>
public sealed record GpaRegion(ulong Start, ulong Length, nint HostAddress, GpaAccess Access)
{
    /// <summary>First GPA behind the range.</summary>
    public ulong End => Start + Length;
}
