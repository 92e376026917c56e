namespace Vitro.Foundation;

/// <summary>
/// The life cycle and state contract of every device and service in a virtual machine.
/// </summary>
/// <remarks>
/// The owner calls the members from one control thread at a time. A device is stopped before it is reset, saved or
/// restored; once the task of <see cref="StopAsync"/> has completed the device touches no guest memory and raises no
/// interrupt until it is started again.
/// </remarks>
public interface IVirtualDevice : IInspectable
{
    /// <summary>The device's name in the inspect tree and in saved state; unique in its virtual machine.</summary>
    string Name { get; }

    /// <summary>
    /// Version of the device's saved state. Fields are added without a new one; it rises when builds before it would read
    /// the state wrongly.
    /// </summary>
    int SavedStateVersion => 1;

    /// <summary>Lets the device act: timers run, requests are taken.</summary>
    void Start();

    /// <summary>Stops the device; completes when all its activity has ended.</summary>
    ValueTask StopAsync();

    /// <summary>Returns the stopped device to its reset state.</summary>
    void Reset(ResetKind kind);

    /// <summary>Writes the stopped device's state.</summary>
    void Save(SavedStateWriter writer);

    /// <summary>Takes a state written by <see cref="Save"/>.</summary>
    /// <exception cref="SavedStateException">The data is not a state of this device; the device is left reset.</exception>
    void Restore(SavedStateReader reader);
}
