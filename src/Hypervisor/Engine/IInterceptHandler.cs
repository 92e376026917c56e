namespace Vitro.Hypervisor.Engine;

/// <summary>Serves the intercepts of all virtual processors of a partition.</summary>
/// <remarks>
/// Called on the processor's own thread in the middle of an instruction, with no engine lock held. Implementations must
/// not change the processor's state but through the values they return.
/// </remarks>
public interface IInterceptHandler
{
    /// <summary>IN: reads 1, 2 or 4 bytes.</summary>
    uint ReadPort(IVirtualProcessor vp, ushort port, int size);

    /// <summary>OUT: writes 1, 2 or 4 bytes.</summary>
    void WritePort(IVirtualProcessor vp, ushort port, int size, uint value);

    /// <summary>A read of 1, 2, 4 or 8 bytes at a GPA that nothing backs.</summary>
    ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size);

    /// <summary>A write of 1, 2, 4 or 8 bytes at a GPA that nothing backs or that is read-only.</summary>
    void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value);

    /// <summary>RDMSR of a register the engine does not hold itself; false raises #GP.</summary>
    bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value);

    /// <summary>WRMSR of a register the engine does not hold itself; false raises #GP.</summary>
    bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value);

    /// <summary>A hypercall from CPL 0; false raises #UD (the interface is not enabled).</summary>
    bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result);
}

/// <summary>The registers of a 64-bit hypercall (TLFS, "Hypercall Inputs and Outputs").</summary>
/// <param name="Control">RCX: the hypercall input value.</param>
/// <param name="Input">RDX: input GPA, or the first fast register.</param>
/// <param name="Output">R8: output GPA, or the second fast register.</param>
public readonly record struct HypercallRegisters(ulong Control, ulong Input, ulong Output);
