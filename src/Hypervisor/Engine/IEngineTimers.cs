namespace Vitro.Hypervisor.Engine;

/// <summary>
/// The partition reference time and the synthetic timers in direct mode where an engine keeps them itself, so that a guest reads the time and arms a
/// timer without an intercept (TLFS, "Timers"). Timers whose messages wait for a slot of the SynIC are the hypervisor interface's.
/// </summary>
public interface IEngineTimers
{
    /// <summary>The partition reference time in units of 100 ns; it runs on while the machine stands still. Thread-safe.</summary>
    ulong ReferenceTime { get; }

    /// <summary>Lets the reference time go on from a value; while no processor runs.</summary>
    void SetReferenceTime(ulong value);

    /// <summary>Writes the register of the reference TSC page, whose content the engine makes. On the processor's thread, or while none runs.</summary>
    /// <returns>False when the engine refuses the value.</returns>
    bool TrySetReferenceTscPage(int vpIndex, ulong register);

    /// <summary>
    /// Takes the count registers of all timers, so that the guest reaches them without an intercept, or gives them back. When it returns no processor
    /// is at one of them any other way. Thread-safe.
    /// </summary>
    void HoldTimers(bool held);

    /// <summary>A timer's registers. On the processor's thread, or while none runs.</summary>
    (ulong Config, ulong Count) ReadTimer(int vpIndex, int timer);

    /// <summary>Sets a timer's registers and arms it if they say so. On the processor's thread, or while none runs.</summary>
    void WriteTimer(int vpIndex, int timer, ulong config, ulong count);

    /// <summary>Writes a timer's configuration as the guest would. On the processor's thread.</summary>
    void WriteTimerConfig(int vpIndex, int timer, ulong config);
}
