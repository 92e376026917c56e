namespace Vitro.Storage.Sparse;

/// <summary>The extents of a file that no block uses, from their release to their next use.</summary>
/// <remarks>
/// A released extent passes three gates: the release is durable (else a crash could bring the old owner back, showing another
/// block's data), no running request knows the extent any more, and its content is zero. Not thread-safe: the disk's gate guards it.
/// </remarks>
internal sealed class ExtentPool(RequestEpochs epochs)
{
    private readonly Stack<long> _free = new();
    private List<long> _uncommitted = [];
    private List<long> _committing = [];
    private List<long> _waiting = [];
    private List<long> _draining = [];

    internal int FreeCount => _free.Count;

    /// <summary>Whether any extent has been released: from then on one that no block uses may be on its way through the gates.</summary>
    internal bool HasSeenReleases { get; private set; }

    internal void Release(long offset)
    {
        HasSeenReleases = true;
        _uncommitted.Add(offset);
    }

    /// <summary>An extent that was never published: no gate to pass but its content must be zero.</summary>
    internal void GiveBackUnused(long offset) => _free.Push(offset);

    internal bool TryTake(out long offset) => _free.TryPop(out offset);

    /// <summary>Forgets all extents: the caller, alone with the disk, is about to move others into their place.</summary>
    internal void Clear()
    {
        _free.Clear();
        _uncommitted.Clear();
        _committing.Clear();
        _waiting.Clear();
        _draining.Clear();
    }

    /// <summary>The releases so far are part of the commit that starts now.</summary>
    internal void BeginCommit()
    {
        _committing.AddRange(_uncommitted);
        _uncommitted.Clear();
    }

    /// <summary>The commit is durable; returns extents that may be zeroed and then <see cref="GiveBackUnused"/>.</summary>
    internal List<long>? EndCommit()
    {
        _waiting.AddRange(_committing);
        _committing.Clear();
        if (_waiting.Count + _draining.Count == 0 || !epochs.PreviousIsOver())
        {
            return null;
        }

        var ready = _draining;
        _draining = _waiting;
        _waiting = [];
        epochs.Turn();
        return ready.Count == 0 ? null : ready;
    }
}
