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
/// <remarks>Called on the processor's own thread.</remarks>
public interface ISyntheticApic
{
    /// <summary>Writes the EOI register.</summary>
    void EndOfInterrupt(int vpIndex);

    /// <summary>Reads the interrupt command register, destination in bits 63:32 (xAPIC: 63:56).</summary>
    ulong ReadInterruptCommand(int vpIndex);

    /// <summary>Writes the interrupt command register.</summary>
    void WriteInterruptCommand(int vpIndex, ulong value);

    /// <summary>Reads the task priority register.</summary>
    byte ReadTaskPriority(int vpIndex);

    /// <summary>Writes the task priority register.</summary>
    void WriteTaskPriority(int vpIndex, byte value);
}
