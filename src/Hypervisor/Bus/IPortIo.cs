namespace Vitro.Hypervisor.Bus;

/// <summary>A device in x86 port space.</summary>
/// <remarks>Called on virtual processor threads, several at once; the device takes its own lock.</remarks>
public interface IPortIo
{
    /// <summary>Reads 1, 2 or 4 bytes; bits above the size are ignored.</summary>
    uint ReadPort(ushort port, int size);

    /// <summary>Writes 1, 2 or 4 bytes; bits of <paramref name="value"/> above the size are zero.</summary>
    void WritePort(ushort port, int size, uint value);
}
