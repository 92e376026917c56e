namespace Vitro.Storage;

/// <summary>Whether opening a disk locks its files.</summary>
public enum DiskLocking
{
    /// <summary>Exclusive for writing, shared for reading; the open fails when another holder is in the way.</summary>
    Normal,

    /// <summary>No lock: for looking at a disk that is in use. What is read may be out of date; never for writing.</summary>
    None,
}
