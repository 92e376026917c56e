namespace Vitro.Storage;

/// <summary>How far an operation is, in bytes of work.</summary>
/// <param name="Done">Bytes done.</param>
/// <param name="Total">Bytes in all.</param>
public readonly record struct DiskProgress(long Done, long Total);
