using Vitro.Vsp.Storage.Scsi;

namespace Vitro.Vsp.Storage;

/// <summary>A disk in a controller's table and the count of its commands under way, so that it can be taken out safely.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class StorageLun(ScsiDisk disk)
{
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // The table's own reference is the first: the count reaches zero once, after removal.
    private int _references = 1;

    internal ScsiDisk Disk { get; } = disk;

    /// <summary>Completes when the disk is out of the table and its last command has ended.</summary>
    internal Task Drained => _drained.Task;

    internal bool TryEnter()
    {
        int count;
        do
        {
            count = Volatile.Read(ref _references);
            if (count == 0)
            {
                return false;
            }
        }
        while (Interlocked.CompareExchange(ref _references, count + 1, count) != count);
        return true;
    }

    internal void Leave()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            _drained.TrySetResult();
        }
    }
}
