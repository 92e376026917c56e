namespace Vitro.Hypervisor.Engine;

/// <summary>Rates of time stamp counters.</summary>
public static class TscRate
{
    // Half of what Linux takes for drift that its time keeping corrects; a host measures its own rate anew, to some parts
    // in a million, whenever it starts.
    private const ulong PartsPerMillion = 250;

    /// <summary>Whether a guest that has counted by one rate in Hz may go on by the other: they differ by no more than hosts measure.</summary>
    public static bool IsSame(ulong one, ulong other)
    {
        var difference = one > other ? one - other : other - one;
        return difference <= one / (1_000_000 / PartsPerMillion);
    }
}
