using Vitro.Storage.Files;

namespace Vitro.Storage.Disks;

/// <summary>A long read done by two threads: the caller's copies one half while one of the library's copies the other.</summary>
/// <remarks>Whoever is first at the second half does it, so a busy host costs the caller no more than doing all of it alone.</remarks>
internal static class SplitRead
{
    /// <summary>From this many bytes on, waking another thread costs less than it saves.</summary>
    private const int From = 512 << 10;

    private const int PageSize = 4096;

    /// <summary>Whether two threads are faster; what no file holds is cleared before a thread would have woken.</summary>
    internal static bool Suits(VirtualDisk disk, long offset, int length)
    {
        if (length < From)
        {
            return false;
        }

        var epoch = disk.Changes.Epochs.Enter();
        try
        {
            var half = Half(length);
            return disk.TryLocate(offset, half, out _, out _) && disk.TryLocate(offset + half, length - half, out _, out _);
        }
        finally
        {
            disk.Changes.Epochs.Exit(epoch);
        }
    }

    internal static ValueTask Read(VirtualDisk disk, long offset, in BufferSlice target)
    {
        var half = Half(target.Length);
        var rest = target.Slice(half, target.Length - half);
        var other = BlockRequest.Prepare(disk, BlockRequest.Operation.Read, offset + half, rest.Length, rest);
        IoThreads.Queue(other);
        try
        {
            if (!disk.Read(offset, target.Slice(0, half), cachedOnly: true))
            {
                return BothAsync(other.Task, BlockRequest.StartRead(disk, offset, target.Slice(0, half)));
            }
        }
        catch (IOException error)
        {
            return BothAsync(other.Task, ValueTask.FromException(error));
        }

        if (!IoThreads.TryTakeBack(other))
        {
            return other.Task;
        }

        try
        {
            if (disk.Read(offset + half, rest, cachedOnly: true))
            {
                other.Abandon();
                return ValueTask.CompletedTask;
            }
        }
        catch (IOException error)
        {
            other.Abandon();
            return ValueTask.FromException(error);
        }

        IoThreads.Queue(other);
        return other.Task;
    }

    private static int Half(int length) => length / 2 & -PageSize;

    // The buffers are the caller's again only when neither half uses them any more.
    private static async ValueTask BothAsync(ValueTask one, ValueTask two)
    {
        try
        {
            await one;
        }
        finally
        {
            await two;
        }
    }
}
