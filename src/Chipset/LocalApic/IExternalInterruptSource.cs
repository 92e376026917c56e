namespace Vitro.Chipset;

/// <summary>An 8259-compatible controller behind a local APIC's LINT0 pin.</summary>
/// <remarks>Thread-safe.</remarks>
public interface IExternalInterruptSource
{
    /// <summary>The controller's INTR output.</summary>
    bool IsAsserted { get; }

    /// <summary>The processor's interrupt acknowledge cycle: the vector to deliver.</summary>
    byte Acknowledge();
}
