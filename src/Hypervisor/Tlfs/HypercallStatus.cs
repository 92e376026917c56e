namespace Vitro.Hypervisor.Tlfs;

/// <summary>Result codes of hypercalls (TLFS, "Hypercall Status Codes"): bits 15:0 of the result value.</summary>
public enum HypercallStatus : ushort
{
    /// <summary>Done.</summary>
    Success = 0,

    /// <summary>The call code is unknown.</summary>
    InvalidHypercallCode = 2,

    /// <summary>The control word is malformed for this call.</summary>
    InvalidHypercallInput = 3,

    /// <summary>The parameter block is not 8-byte aligned, crosses a page, or is not in memory.</summary>
    InvalidAlignment = 4,

    /// <summary>A parameter is out of range.</summary>
    InvalidParameter = 5,

    /// <summary>The partition may not do this.</summary>
    AccessDenied = 6,

    /// <summary>Not possible in the present state.</summary>
    OperationDenied = 8,

    /// <summary>The host is out of memory for this.</summary>
    InsufficientMemory = 11,

    /// <summary>No such virtual processor.</summary>
    InvalidVpIndex = 14,

    /// <summary>No such port.</summary>
    InvalidPortId = 17,

    /// <summary>No such connection.</summary>
    InvalidConnectionId = 18,

    /// <summary>The receiver is full for the moment: try again.</summary>
    InsufficientBuffers = 19,
}
