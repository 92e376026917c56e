namespace Vitro.Hypervisor.Bus;

/// <summary>Intercepted guest physical space: routes accesses to devices; unclaimed reads give all ones, writes vanish.</summary>
/// <remarks>Lookups are lock-free over an array that is replaced, never changed.</remarks>
public sealed class MmioBus
{
    private readonly Lock _gate = new();
    private (ulong Start, ulong Length, IMmio Device)[] _ranges = [];

    /// <summary>Gives a device a range.</summary>
    /// <exception cref="ArgumentException">It overlaps another device's range.</exception>
    public void Register(ulong start, ulong length, IMmio device)
    {
        lock (_gate)
        {
            foreach (var range in _ranges)
            {
                if (start < range.Start + range.Length && range.Start < start + length)
                {
                    throw new ArgumentException($"MMIO range 0x{start:x} overlaps another device's at 0x{range.Start:x}.", nameof(start));
                }
            }

            Volatile.Write(ref _ranges, [.. _ranges, (start, length, device)]);
        }
    }

    /// <summary>Reads 1, 2, 4 or 8 bytes.</summary>
    public ulong Read(ulong gpa, int size)
    {
        var mask = size == 8 ? ulong.MaxValue : (1UL << (size * 8)) - 1;
        foreach (var (start, length, device) in Volatile.Read(ref _ranges))
        {
            if (gpa - start < length)
            {
                return device.ReadMmio(gpa - start, size) & mask;
            }
        }

        return mask;
    }

    /// <summary>Writes 1, 2, 4 or 8 bytes.</summary>
    public void Write(ulong gpa, int size, ulong value)
    {
        foreach (var (start, length, device) in Volatile.Read(ref _ranges))
        {
            if (gpa - start < length)
            {
                device.WriteMmio(gpa - start, size, value);
                return;
            }
        }
    }
}
