using Vitro.Hypervisor.Engine;

namespace Vitro.Benchmarks;

/// <summary>Devices that make garbage: each write to a port is a request of its own with a page of data, of which the last 256 are in flight.</summary>
internal sealed class AllocatingDevices(CollectionWatch watch) : IInterceptHandler
{
    private const int PageSize = 4096;
    private readonly Request?[] _inFlight = new Request?[256];
    private int _next;

    public uint ReadPort(IVirtualProcessor vp, ushort port, int size) => uint.MaxValue;

    public void WritePort(IVirtualProcessor vp, ushort port, int size, uint value)
    {
        watch.Begin();
        _inFlight[_next] = new Request(port, value, new byte[PageSize]);
        watch.End();
        _next = (_next + 1) % _inFlight.Length;
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

    private sealed record Request(ushort Port, uint Value, byte[] Data);
}
