namespace Vitro.Foundation;

/// <summary>An object that shows its live state as a tree.</summary>
public interface IInspectable
{
    /// <summary>
    /// Writes the current state into <paramref name="node"/>. May be called at any time from any thread, also while the
    /// object runs: values are snapshots, each consistent in itself only.
    /// </summary>
    void Inspect(InspectNode node);
}
