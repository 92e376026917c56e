using System.Runtime.InteropServices;
using Vitro.Foundation;

namespace Vitro.Hypervisor.Engine;

/// <summary>A partition: the virtual processors of one machine over its guest physical space.</summary>
public interface IPartition : IInspectable, IDisposable
{
    /// <summary>The virtual processors, by index.</summary>
    IReadOnlyList<IVirtualProcessor> VirtualProcessors { get; }

    /// <summary>
    /// The instructions that make a hypercall on this engine, ending with a near return: the content of the guest's
    /// hypercall page (TLFS, "Establishing the Hypercall Interface"). One instruction of three bytes, then the return: a machine
    /// saved between the two goes on under another engine at the same address.
    /// </summary>
    ReadOnlySpan<byte> HypercallPageCode { get; }

    /// <summary>Rate of the guest's time stamp counter in Hz; constant for the partition's life.</summary>
    ulong TscFrequency { get; }

    /// <summary>
    /// Whether the engine calls <see cref="Vid.GpaSpace.EnsurePresent"/> before it touches a page of RAM for the first time, so
    /// that processors may run while RAM is still being filled.
    /// </summary>
    bool AsksForRam => false;

    /// <summary>The engine's own local APICs; null when it uses the machine's (<see cref="PartitionOptions.InterruptControllers"/>).</summary>
    IEngineLocalApics? LocalApics => null;

    /// <summary>The engine's own reference time and timers; null when it has none, and then the hypervisor interface's serve.</summary>
    IEngineTimers? Timers => null;

    /// <summary>
    /// Says that one-byte writes to a port may come late, if in order: before the next intercept of any processor, before a
    /// processor's run ends, and otherwise within 100 ms. They may come on any thread. An engine that leaves the guest at a high
    /// price gathers them; before the first start.
    /// </summary>
    void CoalesceWrites(ushort port)
    {
    }

    /// <summary>
    /// Has the host's kernel add to an event counter (eventfd(2)) when the guest signals event flag 0 at a connection id (HvCallSignalEvent), so
    /// that the guest is not left for this process. Thread-safe.
    /// </summary>
    /// <param name="connectionId">24 bits.</param>
    /// <param name="file">The event counter. It may be disposed after <see cref="UnbindSignal"/>.</param>
    /// <returns>False when the engine has no such way, or the id has a counter already: the call is an intercept as before.</returns>
    bool TryBindSignal(uint connectionId, SafeHandle file) => false;

    /// <summary>Ends what <see cref="TryBindSignal"/> began; nothing happens when it did not. Thread-safe.</summary>
    void UnbindSignal(uint connectionId)
    {
    }

    /// <summary>
    /// Has every processor drop what it has translated of linear addresses. When it returns, none uses such a translation any more. In an
    /// intercept, on the thread of the processor that asks.
    /// </summary>
    /// <returns>False when the engine cannot (<see cref="IHypervisorEngine.FlushesTranslations"/>).</returns>
    bool TryFlushTranslations(int vpIndex) => false;

    /// <summary>
    /// Has the engine note which pages of RAM are written from now on, or no longer. Processors may run meanwhile. Nothing to do for engines
    /// that always do.
    /// </summary>
    void LogDirtyPages(bool enabled)
    {
    }

    /// <summary>
    /// Takes the pages of RAM that the guest or a device has written since the last call, or since they are noted. Processors may run
    /// meanwhile: what is written before the call returns may be in this bitmap or the next, and whoever copies the pages of a bitmap
    /// behind the call misses nothing that is not in the next. One call at a time, not on a processor's thread.
    /// </summary>
    /// <param name="pages">As for <see cref="Vid.GpaSpace.TakeDirtyPages"/>.</param>
    void TakeDirtyPages(Span<ulong> pages);

    /// <summary>The guest's time stamp counter now (of a processor whose guest has not written it).</summary>
    ulong ReadTsc();

    /// <summary>
    /// Lets the guest's time stamp counter stand still until <see cref="StartTime"/>; while no processor runs. It runs in a
    /// new partition. Nothing to do where it follows the machine's clock.
    /// </summary>
    void StopTime()
    {
    }

    /// <summary>Sets the guest's time stamp counter, as <see cref="ReadTsc"/> gives it, while it stands still.</summary>
    void SetTsc(ulong value);

    /// <summary>Lets the guest's time stamp counter go on from where it stands.</summary>
    void StartTime()
    {
    }
}
