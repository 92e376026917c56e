namespace Vitro.Hypervisor.Engine;

/// <summary>What a virtual processor needs of its local APIC (and of the PIC behind LINT0).</summary>
/// <remarks>Thread-safe: the processor thread polls, device threads raise.</remarks>
public interface ILocalInterruptController
{
    /// <summary>Whether <see cref="TryAcknowledge"/> would give a vector now.</summary>
    bool HasPendingInterrupt { get; }

    /// <summary>
    /// Takes the highest-priority interrupt that the task priority lets through and marks it in service. Called at an
    /// instruction boundary with interrupts enabled; the processor delivers the vector at once.
    /// </summary>
    bool TryAcknowledge(out byte vector);

    /// <summary>CR8: bits 7:4 of the task priority register. A write may make an interrupt deliverable.</summary>
    byte Cr8 { get; set; }
}
