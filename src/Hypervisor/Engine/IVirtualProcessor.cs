using Vitro.Foundation;

namespace Vitro.Hypervisor.Engine;

/// <summary>One virtual processor.</summary>
/// <remarks>
/// <see cref="Run"/>, <see cref="GetState"/>, <see cref="SetState"/> and <see cref="Reset"/> belong to the processor's own
/// thread, or to a control thread while no thread runs it. The signalling members may be called on any thread at any time.
/// </remarks>
public interface IVirtualProcessor : IInspectable
{
    /// <summary>Index in the partition; also its APIC id and Hyper-V VP index.</summary>
    int Index { get; }

    /// <summary>
    /// Runs the guest until something ends it. A halted processor, or one that waits for a start-up IPI, waits inside
    /// for a signal and uses no host time. Intercepts are served through <see cref="IInterceptHandler"/> on this thread.
    /// </summary>
    VpExit Run();

    /// <summary>Makes <see cref="Run"/> return <see cref="VpExitReason.Cancelled"/> soon, now or at its next call.</summary>
    void Cancel();

    /// <summary>
    /// Tells the processor that its <see cref="ILocalInterruptController"/> may have an interrupt to deliver. Wakes a
    /// halted processor.
    /// </summary>
    void SignalInterrupt();

    /// <summary>Makes a non-maskable interrupt pending.</summary>
    void SignalNmi();

    /// <summary>Makes a system management interrupt pending; false when the engine has no system management mode.</summary>
    bool TrySignalSmi() => false;

    /// <summary>INIT: the processor resets to wait-for-SIPI at the next boundary (the boot processor to the reset vector).</summary>
    void SignalInit();

    /// <summary>A start-up IPI: a processor waiting for it starts in real mode at <c>vector &lt;&lt; 12</c>; others ignore it.</summary>
    void SignalStartup(byte vector);

    /// <summary>Returns the processor to its state after a hardware reset; application processors wait for a start-up IPI.</summary>
    void Reset();

    /// <summary>Reads the whole architectural state.</summary>
    VirtualProcessorState GetState();

    /// <summary>Replaces the whole architectural state.</summary>
    void SetState(VirtualProcessorState state);
}

/// <summary>Why <see cref="IVirtualProcessor.Run"/> returned.</summary>
public enum VpExitReason
{
    /// <summary><see cref="IVirtualProcessor.Cancel"/> was called.</summary>
    Cancelled,

    /// <summary>The guest shut the processor down by a triple fault.</summary>
    TripleFault,

    /// <summary>The engine cannot go on; <see cref="VpExit.Detail"/> says why.</summary>
    InternalError,
}

/// <summary>The end of a run.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Detail">For people: where the guest was and what failed; empty when cancelled.</param>
public readonly record struct VpExit(VpExitReason Reason, string Detail);
