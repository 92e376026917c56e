namespace Vitro.Storage.Operations;

/// <summary>Counts an operation's work, tells of it now and then, and ends it when it is cancelled. Not thread-safe.</summary>
/// <param name="total">The work, in the unit of <see cref="Reached"/>.</param>
/// <param name="progress">Who is told.</param>
/// <param name="cancellation">Ends the operation at the next <see cref="Reached"/>.</param>
internal sealed class WorkMeter(long total, IProgress<DiskProgress>? progress, CancellationToken cancellation)
{
    private const int Reports = 1000;

    private readonly long _interval = Math.Max(1, total / Reports);
    private long _next;

    /// <summary>So much is done.</summary>
    /// <exception cref="OperationCanceledException">The operation was cancelled.</exception>
    internal void Reached(long done)
    {
        if (done < _next)
        {
            return;
        }

        cancellation.ThrowIfCancellationRequested();
        progress?.Report(new DiskProgress(done, total));
        _next = done + _interval;
    }

    /// <summary>All is done; there is nothing left to cancel.</summary>
    internal void Finish() => progress?.Report(new DiskProgress(total, total));
}
