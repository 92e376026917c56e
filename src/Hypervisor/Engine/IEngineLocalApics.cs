namespace Vitro.Hypervisor.Engine;

/// <summary>
/// The local APICs of an engine that has them itself, in the host's kernel: interrupts, inter-processor interrupts and
/// the APIC timer then cost no way through the machine's own devices, whose local APICs only hold the saved state.
/// </summary>
/// <remarks>
/// The sending members are thread-safe. <see cref="Read"/> and <see cref="Write"/> belong to the processor's thread, or
/// to a control thread while none runs it.
/// </remarks>
public interface IEngineLocalApics
{
    /// <summary>Sends a message-signalled interrupt (Intel SDM volume 3, "Message Signalled Interrupts").</summary>
    void Send(ulong address, uint data);

    /// <summary>
    /// Tells which message an IO-APIC pin sends now, so that the end of its interrupt comes back when it is level
    /// triggered; data 0 means that the pin sends none.
    /// </summary>
    void SetPinMessage(int pin, ulong address, uint data);

    /// <summary>Sets who hears of the ends of level-triggered interrupts, by vector, on processor threads; before the first start.</summary>
    void ConnectEndOfInterrupt(Action<byte> target);

    /// <summary>Reads a register by its x2APIC MSR; false when the local APIC is not in that mode or has none of that number.</summary>
    bool TryReadMsr(int vpIndex, uint msr, out ulong value);

    /// <summary>Writes a register by its x2APIC MSR with what follows of that, on the processor's own thread; false likewise.</summary>
    bool TryWriteMsr(int vpIndex, uint msr, ulong value);

    /// <summary>Reads a local APIC's registers.</summary>
    LocalApicRegisters Read(int vpIndex);

    /// <summary>Replaces a local APIC's registers.</summary>
    void Write(int vpIndex, LocalApicRegisters registers);
}

/// <summary>The registers of a local APIC as the architecture lays them out.</summary>
public sealed class LocalApicRegisters
{
    /// <summary>Bytes of <see cref="Page"/>.</summary>
    public const int PageSize = 1024;

    /// <summary>MSR APIC_BASE.</summary>
    public ulong ApicBase { get; set; }

    /// <summary>MSR TSC_DEADLINE; 0 is disarmed.</summary>
    public ulong TscDeadline { get; set; }

    /// <summary>The register page in its xAPIC layout: a 32-bit register every 16 bytes. The id is in bits 31:24 in every mode.</summary>
    public byte[] Page { get; init; } = new byte[PageSize];
}
