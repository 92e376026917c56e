using System.Runtime.InteropServices;

namespace Vitro.VmBus;

/// <summary>What a round of a worker's work came to.</summary>
public enum WorkerRound
{
    /// <summary>Nothing is left to do until <see cref="IVmBusWorker.Wake"/>.</summary>
    Done,

    /// <summary>Something is left that cannot go on yet: another round follows a moment later.</summary>
    Again,

    /// <summary>The work has ended; no round follows.</summary>
    Ended,
}

/// <summary>
/// Who does the bus's work: the guest's messages, and the calls of each open channel's service. Threads as a rule
/// (<see cref="Host.WorkerThreads"/>); who wants to say at which moment the work is done brings another.
/// </summary>
/// <remarks>Thread-safe.</remarks>
public interface IVmBusWorkers
{
    /// <summary>Makes a worker that does nothing before it is started.</summary>
    /// <param name="name">Names it to people: <c>vmbus-</c> and the channel.</param>
    /// <param name="round">
    /// The work that is due; called for one worker by one thread at a time, once at the start and then at least once after each wake-up.
    /// </param>
    IVmBusWorker Create(string name, Func<WorkerRound> round);
}

/// <summary>One worker of the bus.</summary>
/// <remarks>Thread-safe. What it holds of the host is given back when its work ends.</remarks>
public interface IVmBusWorker
{
    /// <summary>The event counter, as of eventfd(2), which wakes the worker when somebody adds to it; null when it has none.</summary>
    SafeHandle? WakeFile { get; }

    /// <summary>Begins with the first round. Called once.</summary>
    void Start();

    /// <summary>Asks for a round; a round under way is followed by another. Nothing happens once the work has ended.</summary>
    void Wake();

    /// <summary>Returns when the work has ended.</summary>
    void Join();
}
