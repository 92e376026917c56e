namespace Vitro.Foundation;

/// <summary>
/// Bounds how often something a guest can trigger is logged: the first <c>burst</c> events and then one for each power
/// of two, so that a hostile guest cannot fill the host's disk.
/// </summary>
/// <remarks>Thread-safe and free of allocation.</remarks>
public sealed class GuestEventLimiter(int burst = 8)
{
    private long _count;

    /// <summary>Events seen so far.</summary>
    public long Count => Volatile.Read(ref _count);

    /// <summary>Counts an event and says whether it should be logged.</summary>
    public bool ShouldLog()
    {
        var count = Interlocked.Increment(ref _count);
        return count <= burst || (count & (count - 1)) == 0;
    }
}
