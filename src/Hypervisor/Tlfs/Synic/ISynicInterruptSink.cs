namespace Vitro.Hypervisor.Tlfs.Synic;

/// <summary>Where the SynIC and the synthetic timers raise interrupts: the local APICs.</summary>
public interface ISynicInterruptSink
{
    /// <summary>
    /// Makes an edge-triggered interrupt pending at a processor. Called on any thread with no lock held; must not block.
    /// </summary>
    /// <param name="vpIndex">Receiving processor.</param>
    /// <param name="vector">16 to 255.</param>
    /// <param name="autoEoi">The interrupt ends by itself when it is delivered: the guest writes no EOI.</param>
    void Raise(int vpIndex, byte vector, bool autoEoi);
}

/// <summary>The local APIC registers behind the synthetic MSRs EOI, ICR and TPR.</summary>
/// <remarks>
/// Called on the processor's own thread. A member gives false when the register cannot be reached: an engine's own local
/// APICs are reached by way of their x2APIC mode only.
/// </remarks>
public interface ISyntheticApic
{
    /// <summary>Writes the EOI register.</summary>
    bool TryEndInterrupt(int vpIndex);

    /// <summary>Reads the interrupt command register, destination in bits 63:32 (xAPIC: 63:56).</summary>
    bool TryReadInterruptCommand(int vpIndex, out ulong value);

    /// <summary>Writes the interrupt command register.</summary>
    bool TryWriteInterruptCommand(int vpIndex, ulong value);

    /// <summary>Reads the task priority register.</summary>
    bool TryReadTaskPriority(int vpIndex, out ulong value);

    /// <summary>Writes the task priority register.</summary>
    bool TryWriteTaskPriority(int vpIndex, byte value);
}
