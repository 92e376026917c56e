namespace Vitro.Hypervisor.Software;

/// <summary>
/// Raises exceptions without C# exceptions: the state records one, the instruction gives up without having changed any
/// register, and the interpreter has it delivered.
/// </summary>
/// <remarks>Every method returns false, so that a failing path reads <c>return Fault.Raise(…)</c>.</remarks>
internal static unsafe class Fault
{
    public const int DivideError = 0;
    public const int Debug = 1;
    public const int Nmi = 2;
    public const int Breakpoint = 3;
    public const int Overflow = 4;
    public const int BoundRange = 5;
    public const int InvalidOpcode = 6;
    public const int DeviceNotAvailable = 7;
    public const int DoubleFault = 8;
    public const int InvalidTss = 10;
    public const int SegmentNotPresent = 11;
    public const int StackFault = 12;
    public const int GeneralProtection = 13;
    public const int PageFault = 14;
    public const int FloatingPoint = 16;
    public const int AlignmentCheck = 17;
    public const int MachineCheck = 18;
    public const int SimdFloatingPoint = 19;

    /// <summary>Raises an exception without an error code.</summary>
    public static bool Raise(VpState* state, int vector)
    {
        state->FaultVector = vector;
        state->FaultErrorCode = 0;
        state->FaultHasErrorCode = 0;
        return false;
    }

    /// <summary>Raises an exception that pushes an error code.</summary>
    public static bool Raise(VpState* state, int vector, uint errorCode)
    {
        state->FaultVector = vector;
        state->FaultErrorCode = errorCode;
        state->FaultHasErrorCode = 1;
        return false;
    }

    /// <summary>#UD.</summary>
    public static bool Undefined(VpState* state) => Raise(state, InvalidOpcode);

    /// <summary>#GP with an error code: zero, or a selector without its RPL.</summary>
    public static bool Protection(VpState* state, uint errorCode = 0) => Raise(state, GeneralProtection, errorCode);

    /// <summary>#SS with an error code.</summary>
    public static bool Stack(VpState* state, uint errorCode = 0) => Raise(state, StackFault, errorCode);

    /// <summary>#PF; the address becomes CR2 when it is delivered.</summary>
    public static bool Page(VpState* state, ulong linear, uint errorCode)
    {
        state->FaultAddress = linear;
        return Raise(state, PageFault, errorCode);
    }

    /// <summary>
    /// Turns the #GP(0) of a non-canonical address into the #SS(0) that an access through the stack segment raises. The
    /// Mmu does not know segments: call this after it failed for an SS-relative operand.
    /// </summary>
    public static void AsStackAccess(VpState* state)
    {
        if (state->FaultVector == GeneralProtection)
        {
            state->FaultVector = StackFault;
        }
    }
}
