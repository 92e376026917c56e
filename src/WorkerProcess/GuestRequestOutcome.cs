namespace Vitro.WorkerProcess;

/// <summary>What became of a request to the guest's integration services.</summary>
public enum GuestRequestOutcome
{
    /// <summary>The guest will do it.</summary>
    Accepted,

    /// <summary>The guest refused.</summary>
    Refused,

    /// <summary>The guest's service does not answer: not started, no driver, or hung.</summary>
    NoContact,
}
