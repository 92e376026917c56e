namespace Vitro.WorkerProcess;

/// <summary>How a machine's run ended.</summary>
/// <param name="Kind">What ended it.</param>
/// <param name="Detail">For people: registers and message of a crash, the cause of an error, the file of a saved machine; empty for an orderly end.</param>
/// <param name="DebugExitCode">The code the guest wrote to the debug-exit port, when that ended it.</param>
public sealed record MachineEnd(MachineEndKind Kind, string Detail = "", uint DebugExitCode = 0)
{
    /// <summary>
    /// The worker's exit code: 0 after a power-off and after the machine was saved, 3 after a guest crash, 4 after a triple fault, 5 after an internal
    /// error, and <c>code*2+1</c> after a debug exit. (2 is bad input, before any run.)
    /// </summary>
    public int ExitCode => Kind switch
    {
        MachineEndKind.PowerOff or MachineEndKind.Saved => 0,
        MachineEndKind.GuestCrash => 3,
        MachineEndKind.TripleFault => 4,
        MachineEndKind.InternalError => 5,
        _ => (int)((DebugExitCode * 2) + 1) & 0xff,
    };
}

/// <summary>What ended a machine's run.</summary>
public enum MachineEndKind
{
    /// <summary>The guest powered off, or the machine was turned off.</summary>
    PowerOff,

    /// <summary>The guest reported a crash through the hypervisor's crash registers.</summary>
    GuestCrash,

    /// <summary>A virtual processor shut down by a triple fault.</summary>
    TripleFault,

    /// <summary>The engine or a device failed.</summary>
    InternalError,

    /// <summary>The guest wrote the debug-exit port.</summary>
    DebugExit,

    /// <summary>The machine was saved to the file that the detail names.</summary>
    Saved,
}
