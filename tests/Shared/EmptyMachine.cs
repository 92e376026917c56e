using Vitro.Hypervisor.Engine;

namespace Vitro.Tests;

/// <summary>What stands around a processor that is tried alone: no ports, device memory, MSRs, hypercalls or interrupts.</summary>
internal sealed class EmptyMachine : IInterceptHandler, ILocalInterruptController
{
    public bool HasPendingInterrupt => false;

    public byte Cr8 { get; set; }

    public bool TryAcknowledge(out byte vector)
    {
        vector = 0;
        return false;
    }

    public uint ReadPort(IVirtualProcessor vp, ushort port, int size) => uint.MaxValue;

    public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value)
    {
    }

    public ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size) => ulong.MaxValue;

    public void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value)
    {
    }

    public bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value)
    {
        value = 0;
        return false;
    }

    public bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value) => false;

    public bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result)
    {
        result = 0;
        return false;
    }
}
