using Vitro.Hypervisor.Bus;

namespace Vitro.Chipset;

/// <summary>One line that several devices drive, up to 32: it is high while any of them is.</summary>
/// <remarks>Thread-safe.</remarks>
internal sealed class SharedLine(InterruptLine output) : IInterruptLineTarget
{
    private int _drivers;

    /// <inheritdoc/>
    public void SetLine(int line, bool high)
    {
        var bit = 1 << line;
        _ = high ? Interlocked.Or(ref _drivers, bit) : Interlocked.And(ref _drivers, ~bit);
        int drivers;
        do
        {
            drivers = Volatile.Read(ref _drivers);
            output.Set(drivers != 0);
        }
        while (drivers != Volatile.Read(ref _drivers));
    }
}
