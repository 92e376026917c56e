namespace Vitro.Storage;

/// <summary>A random-access store of sectors: a file of some format, or a layer over another.</summary>
/// <remarks>
/// Thread-safe: many requests may be in flight, in any order; requests that overlap in range and time end in one of the
/// orders possible for each sector. Offsets and lengths are bytes, multiples of <see cref="LogicalSectorSize"/>. Buffers
/// belong to the device until the task completes. Implementations do not allocate per request on their fast path.
/// Failures are <see cref="BlockIOException"/>.
/// </remarks>
public interface IBlockDevice : IAsyncDisposable
{
    /// <summary>Size in bytes.</summary>
    long Length { get; }

    /// <summary>Smallest addressable unit in bytes: 512 or 4096.</summary>
    int LogicalSectorSize { get; }

    /// <summary>Smallest unit written without a read-modify-write: 512 or 4096.</summary>
    int PhysicalSectorSize { get; }

    /// <summary>Writes, trims and zeroes are refused.</summary>
    bool IsReadOnly { get; }

    /// <summary>A stable identity for the guest (SCSI VPD page 83h), or empty when the format has none.</summary>
    Guid Identity { get; }

    /// <summary>Whether <see cref="TrimAsync"/> gives space back.</summary>
    bool SupportsTrim { get; }

    /// <summary>Reads into the buffers in order, as one request.</summary>
    ValueTask ReadAsync(long offset, ReadOnlyMemory<Memory<byte>> buffers, CancellationToken cancellationToken = default);

    /// <summary>Writes from the buffers in order, as one request; durable on completion when <paramref name="forceUnitAccess"/>.</summary>
    ValueTask WriteAsync(
        long offset, ReadOnlyMemory<Memory<byte>> buffers, bool forceUnitAccess = false, CancellationToken cancellationToken = default);

    /// <summary>Makes every write that has completed durable.</summary>
    ValueTask FlushAsync(CancellationToken cancellationToken = default);

    /// <summary>Tells that the content of a range no longer matters.</summary>
    ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default);

    /// <summary>Makes a range read as zero.</summary>
    ValueTask ZeroAsync(long offset, long length, CancellationToken cancellationToken = default);
}
