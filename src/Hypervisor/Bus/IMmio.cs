namespace Vitro.Hypervisor.Bus;

/// <summary>A device in guest physical space whose accesses are intercepted.</summary>
/// <remarks>Called on virtual processor threads, several at once; the device takes its own lock.</remarks>
public interface IMmio
{
    /// <summary>Reads 1, 2, 4 or 8 bytes at an offset from the start of the device's range.</summary>
    ulong ReadMmio(ulong offset, int size);

    /// <summary>Writes 1, 2, 4 or 8 bytes at an offset from the start of the device's range.</summary>
    void WriteMmio(ulong offset, int size, ulong value);
}
