using Microsoft.Win32.SafeHandles;

namespace Vitro.WorkerProcess.Saving;

/// <summary>An open file with several owners, each of which disposes it once; the last one closes it.</summary>
internal sealed class SharedFile(SafeFileHandle handle) : IDisposable
{
    private int _owners = 1;

    /// <summary>Good until the owner who asks disposes the file.</summary>
    internal SafeFileHandle Handle => handle;

    /// <summary>Gives the file to one more owner.</summary>
    internal SharedFile Share()
    {
        Interlocked.Increment(ref _owners);
        return this;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Decrement(ref _owners) == 0)
        {
            handle.Dispose();
        }
    }
}
