namespace Vitro.Storage.Sparse;

/// <summary>Tells when every request that may still use a released extent has ended, at the price of two counters a request.</summary>
/// <remarks>
/// Requests look up an extent without a lock and then use it; an extent may therefore be given a new owner only when the requests
/// that began before its release are over. Requests enter the current epoch; the epoch turns only when the other one is empty, so
/// after a turn, an empty old epoch proves it.
/// </remarks>
internal sealed class RequestEpochs
{
    // Far apart, so that the two epochs do not share a cache line.
    private readonly int[] _counts = new int[64];
    private int _current;

    internal int Enter()
    {
        while (true)
        {
            var epoch = Volatile.Read(ref _current);
            Interlocked.Increment(ref _counts[epoch * 32]);
            if (epoch == Volatile.Read(ref _current))
            {
                return epoch;
            }

            Interlocked.Decrement(ref _counts[epoch * 32]);
        }
    }

    internal void Exit(int epoch) => Interlocked.Decrement(ref _counts[epoch * 32]);

    /// <summary>Whether the requests of the epoch before the current one have all ended.</summary>
    internal bool PreviousIsOver() => Volatile.Read(ref _counts[(1 - _current) * 32]) == 0;

    /// <summary>Begins a new epoch; only when the previous one is over, and by one caller at a time.</summary>
    internal void Turn() => Interlocked.Exchange(ref _current, 1 - _current);
}
