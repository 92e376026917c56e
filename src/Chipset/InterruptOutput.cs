using Vitro.Hypervisor.Bus;

namespace Vitro.Chipset;

/// <summary>
/// A device's level output. The device notes the level under its own lock and publishes it after releasing it; whatever
/// the order in which threads publish, the wire ends at the level noted last.
/// </summary>
internal sealed class InterruptOutput(InterruptLine line)
{
    private volatile bool _level;

    /// <summary>The level as noted.</summary>
    internal bool Level
    {
        get => _level;
        set => _level = value;
    }

    /// <summary>Drives the wire. With no lock held.</summary>
    internal void Publish()
    {
        bool level;
        do
        {
            level = _level;
            line.Set(level);
        }
        while (level != _level);
    }
}
