using Vitro.Hypervisor.Bus;

namespace Vitro.Chipset;

/// <summary>Port 0x80: keeps the last byte written. Guests write it to spend a moment, firmware to show progress.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class PostCodePort : IPortIo
{
    private uint _value;

    /// <summary>The last value written.</summary>
    public byte Value => (byte)Volatile.Read(ref _value);

    /// <inheritdoc/>
    public uint ReadPort(ushort port, int size) => Volatile.Read(ref _value);

    /// <inheritdoc/>
    public void WritePort(ushort port, int size, uint value) => Volatile.Write(ref _value, value);
}
