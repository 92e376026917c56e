using System.Runtime.ExceptionServices;

namespace Vitro.Storage.Sparse;

/// <content>From memory to the file: the first change of a session, and flushes, of which one commit serves many.</content>
internal abstract partial class BlockMappedDisk
{
    private long _flushesAsked;
    private long _flushesDone;
    private volatile bool _modified;
    private ExceptionDispatchInfo? _failure;

    /// <summary>Whether the table in memory differs from what the last commit made durable.</summary>
    private protected abstract bool MetadataIsDirty { get; }

    internal override void Flush()
    {
        _failure?.Throw();
        var ticket = Interlocked.Increment(ref _flushesAsked);
        lock (Changes.TurnGate)
        {
            if (_flushesDone >= ticket)
            {
                return; // a commit that began after this flush was asked for has ended
            }

            var covers = Volatile.Read(ref _flushesAsked);
            CommitNow();
            _flushesDone = covers;
        }
    }

    /// <summary>Prepares the file for its first change since it was opened: new identities, log opened.</summary>
    private protected abstract void BeginModification();

    /// <summary>Makes payload and table durable; called by one thread at a time, without <see cref="Gate"/>.</summary>
    private protected abstract void Commit();

    /// <summary>After the last commit: leaves the file as a cleanly closed one.</summary>
    private protected abstract void FinishClean();

    /// <summary>Prepares for a change, before the request enters its epoch.</summary>
    private protected void Modify()
    {
        _failure?.Throw();
        if (!_modified)
        {
            lock (Changes.TurnGate)
            {
                if (!_modified)
                {
                    BeginModification();
                    _modified = true;
                }
            }
        }
    }

    private void CommitNow()
    {
        try
        {
            lock (Gate)
            {
                Extents.BeginCommit();
            }

            Commit();
            List<long>? ready;
            lock (Gate)
            {
                ready = Extents.EndCommit();
            }

            if (ready is not null)
            {
                foreach (var extent in ready)
                {
                    ClearExtent(extent);
                    lock (Gate)
                    {
                        Extents.GiveBackUnused(extent);
                    }
                }
            }
        }
        catch (Exception error)
        {
            // After a failed sync nobody knows what is durable: no later success may be reported.
            _failure = ExceptionDispatchInfo.Capture(error);
            throw;
        }
    }
}
