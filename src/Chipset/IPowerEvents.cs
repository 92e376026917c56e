namespace Vitro.Chipset;

/// <summary>Where the chipset reports that the guest wants the machine to end or to begin anew.</summary>
/// <remarks>
/// Called on a virtual processor's thread in the middle of an instruction, with no lock held. Implementations note the
/// request and cancel the processors; they must not reset devices within the call. The processor may run on for a moment.
/// </remarks>
public interface IPowerEvents
{
    /// <summary>A system reset.</summary>
    /// <param name="source">For people: which register asked, such as <c>port 0xcf9</c>.</param>
    void RequestReset(string source);

    /// <summary>Power off (ACPI S5).</summary>
    void RequestPowerOff();

    /// <summary>A write of <paramref name="code"/> to the debug-exit port: the worker ends with <c>code * 2 + 1</c>.</summary>
    void RequestDebugExit(uint code);
}
