namespace Vitro.Hypervisor.Bus;

/// <summary>Takes the levels of numbered interrupt lines: an interrupt controller or a router before several.</summary>
public interface IInterruptLineTarget
{
    /// <summary>Sets a line's level. Called on any thread with no lock of the target held.</summary>
    void SetLine(int line, bool high);
}

/// <summary>A device's wire to an interrupt controller. Remembers its level and forwards changes only.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class InterruptLine(IInterruptLineTarget target, int number)
{
    private readonly Lock _gate = new();
    private bool _high;

    /// <summary>A wire that leads nowhere, for tests and machines without a legacy controller.</summary>
    public static InterruptLine Unconnected { get; } = new(new NoTarget(), -1);

    /// <summary>The line's number at its target (the global system interrupt).</summary>
    public int Number { get; } = number;

    /// <summary>The present level.</summary>
    public bool IsHigh => Volatile.Read(ref _high);

    /// <summary>Sets the level.</summary>
    public void Set(bool high)
    {
        lock (_gate)
        {
            if (_high != high)
            {
                _high = high;
                target.SetLine(Number, high);
            }
        }
    }

    /// <summary>Raises and lowers the line: an edge.</summary>
    public void Pulse()
    {
        Set(true);
        Set(false);
    }

    private sealed class NoTarget : IInterruptLineTarget
    {
        public void SetLine(int line, bool high)
        {
            // Nothing listens.
        }
    }
}
