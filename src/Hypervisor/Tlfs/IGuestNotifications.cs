namespace Vitro.Hypervisor.Tlfs;

/// <summary>What a guest tells its host through the hypervisor interface.</summary>
/// <remarks>Called on a virtual processor's thread in the middle of an instruction: hand on, do not act.</remarks>
public interface IGuestNotifications
{
    /// <summary>The guest's kernel crashed and reports why. A guest may report more than once.</summary>
    void OnGuestCrash(GuestCrashReport report);

    /// <summary>The guest asked for a reset of the machine through the reset MSR.</summary>
    void OnResetRequested(int vpIndex);
}

/// <summary>A crash as the guest reports it through the crash MSRs (TLFS, "Guest Crash Enlightenment").</summary>
/// <param name="VpIndex">Reporting processor.</param>
/// <param name="Parameters">
/// P0 to P4. Linux without a log: error code, guest OS id, RIP, RAX, RSP; with a log: P3 and P4 are its address and length.
/// </param>
/// <param name="Log">The end of the kernel's log as text, or null when the guest gave none.</param>
public sealed record GuestCrashReport(int VpIndex, IReadOnlyList<ulong> Parameters, string? Log);
