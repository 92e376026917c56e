namespace Vitro.Hypervisor.Bus;

/// <summary>Port space: routes accesses to devices; reads of unclaimed ports give all ones, writes vanish.</summary>
/// <remarks>Devices are registered while the machine is being built; dispatch is lock-free and does not allocate.</remarks>
public sealed class PortBus
{
    private readonly byte[] _owner = new byte[0x10000];
    private readonly List<IPortIo?> _devices = [null];

    /// <summary>Gives a device a range of ports.</summary>
    /// <exception cref="ArgumentException">A port is taken.</exception>
    public void Register(ushort first, int count, IPortIo device)
    {
        if (_owner.AsSpan(first, count).ContainsAnyExcept((byte)0))
        {
            throw new ArgumentException($"Ports 0x{first:x} to 0x{first + count - 1:x} overlap another device's.", nameof(first));
        }

        var index = _devices.IndexOf(device);
        if (index < 0)
        {
            index = _devices.Count;
            _devices.Add(device);
        }

        _owner.AsSpan(first, count).Fill(checked((byte)index));
    }

    /// <summary>Reads 1, 2 or 4 bytes.</summary>
    public uint Read(ushort port, int size)
    {
        var device = _devices[_owner[port]];
        var mask = size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;
        return device is null ? mask : device.ReadPort(port, size) & mask;
    }

    /// <summary>Writes 1, 2 or 4 bytes.</summary>
    public void Write(ushort port, int size, uint value)
    {
        var mask = size == 4 ? uint.MaxValue : (1u << (size * 8)) - 1;
        _devices[_owner[port]]?.WritePort(port, size, value & mask);
    }
}
