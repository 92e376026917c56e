namespace Vitro.Hypervisor.Tlfs;

/// <summary>
/// The linear map from time stamp counter to partition reference time in 100 ns units:
/// <c>((tsc * Scale) &gt;&gt; 64) + Offset</c> (TLFS, "Partition Reference Time Enlightenment").
/// </summary>
/// <param name="Scale">Reference units for a tick, as a fraction of 2^64.</param>
/// <param name="Offset">Reference time at counter zero; may be negative.</param>
internal readonly record struct ReferenceTscScale(ulong Scale, long Offset)
{
    private const ulong UnitsPerSecond = 10_000_000;

    /// <summary>
    /// The map through one known pair of counter and time. False when the counter is too slow (10 MHz or less) for the
    /// scale to fit its 64 bits.
    /// </summary>
    internal static bool TryCreate(ulong tscFrequency, ulong tsc, ulong referenceTime, out ReferenceTscScale result)
    {
        if (tscFrequency <= UnitsPerSecond)
        {
            result = default;
            return false;
        }

        // Rounded down, so the map is never ahead of the true time, by less than one unit even at the largest counter.
        var scale = (ulong)(((UInt128)UnitsPerSecond << 64) / tscFrequency);
        result = new ReferenceTscScale(scale, (long)(referenceTime - Math.BigMul(tsc, scale, out _)));
        return true;
    }

    /// <summary>Reference time at a counter value, as the guest computes it.</summary>
    internal ulong ToReferenceTime(ulong tsc) => Math.BigMul(tsc, Scale, out _) + (ulong)Offset;
}
