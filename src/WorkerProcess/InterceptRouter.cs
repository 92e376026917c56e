using Vitro.Chipset;
using Vitro.Hypervisor.Bus;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs;

namespace Vitro.WorkerProcess;

/// <summary>Routes the intercepts of all virtual processors to the chipset and the hypervisor interface.</summary>
internal sealed class InterceptRouter(PortBus ports, StandardChipset chipset, HypervisorInterface hypervisor) : IInterceptHandler
{
    public uint ReadPort(IVirtualProcessor vp, ushort port, int size) => ports.Read(port, size);

    public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value) => ports.Write(port, size, value);

    public ulong ReadMmio(IVirtualProcessor vp, ulong gpa, int size) => chipset.ReadMmio(vp.Index, gpa, size);

    public void WriteMmio(IVirtualProcessor vp, ulong gpa, int size, ulong value) => chipset.WriteMmio(vp.Index, gpa, size, value);

    public bool TryReadMsr(IVirtualProcessor vp, uint msr, out ulong value) =>
        HypervisorInterface.IsSyntheticMsr(msr)
            ? hypervisor.TryReadMsr(vp.Index, msr, out value)
            : chipset.TryReadMsr(vp.Index, msr, out value);

    public bool TryWriteMsr(IVirtualProcessor vp, uint msr, ulong value) =>
        HypervisorInterface.IsSyntheticMsr(msr)
            ? hypervisor.TryWriteMsr(vp.Index, msr, value)
            : chipset.TryWriteMsr(vp.Index, msr, value);

    public bool TryHypercall(IVirtualProcessor vp, in HypercallRegisters registers, out ulong result) =>
        hypervisor.TryHypercall(vp.Index, registers, out result);
}
