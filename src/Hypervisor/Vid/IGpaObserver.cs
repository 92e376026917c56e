namespace Vitro.Hypervisor.Vid;

/// <summary>An engine's view of changes to guest physical space that it must honour.</summary>
public interface IGpaObserver
{
    /// <summary>
    /// Regions were added, removed or protected. On return no virtual processor uses the old mapping: the engine has
    /// flushed its translations and waited for running processors. Called on any thread but a virtual processor's own
    /// in mid-instruction.
    /// </summary>
    void OnRegionsChanged();

    /// <summary>
    /// The host wrote guest memory in a page marked <see cref="GpaPageFlags.HasCode"/>; translations of its code are
    /// stale. Called on any thread after the write.
    /// </summary>
    void OnCodePageWritten(ulong gpa, ulong length);
}
