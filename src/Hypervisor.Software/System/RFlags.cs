namespace Vitro.Hypervisor.Software;

/// <summary>System bits of RFLAGS.</summary>
internal static class RFlags
{
    public const uint Fixed = 2;
    public const uint Tf = 1 << 8;
    public const uint If = 1 << 9;
    public const uint Df = 1 << 10;
    public const int IoplShift = 12;
    public const uint Iopl = 3 << IoplShift;
    public const uint Nt = 1 << 14;
    public const uint Rf = 1 << 16;
    public const uint Vm = 1 << 17;
    public const uint Ac = 1 << 18;
    public const uint Vif = 1 << 19;
    public const uint Vip = 1 << 20;
    public const uint Id = 1 << 21;

    /// <summary>All bits that exist.</summary>
    public const uint Defined = 0x3F7FD5;
}
