using System.Diagnostics.CodeAnalysis;
using Vitro.Storage.Disks;
using Vitro.Storage.Files;
using Vitro.Storage.Tracking;

namespace Vitro.Storage;

/// <summary>An open disk: a raw file, or one layer of VHD or VHDX over its parents.</summary>
/// <remarks>
/// A request that the host's page cache can serve completes before its call returns; one that must wait for the storage waits
/// on a thread of the library's own. The contract of <see cref="IBlockDevice"/> holds for every member.
/// </remarks>
public abstract class VirtualDisk : IBlockDevice
{
    // Up to this, handing the request to another thread costs about as much as copying it here.
    private const int InlineLimit = 1 << 20;

    private protected VirtualDisk(string path) => Path = path;

    /// <summary>The file's path.</summary>
    public string Path { get; }

    /// <summary>The file's format.</summary>
    public abstract DiskFormat Format { get; }

    /// <summary>Fixed, dynamic or differencing.</summary>
    public abstract DiskKind Kind { get; }

    /// <inheritdoc/>
    public abstract long Length { get; }

    /// <inheritdoc/>
    public abstract int LogicalSectorSize { get; }

    /// <inheritdoc/>
    public abstract int PhysicalSectorSize { get; }

    /// <inheritdoc/>
    public abstract bool IsReadOnly { get; }

    /// <inheritdoc/>
    public abstract Guid Identity { get; }

    /// <summary>Changes whenever somebody writes after opening the file; empty when the format keeps no such identity.</summary>
    public virtual Guid ContentIdentity => Guid.Empty;

    /// <inheritdoc/>
    public abstract bool SupportsTrim { get; }

    /// <summary>The disk below a differencing disk, open for reading; null for the other kinds.</summary>
    public virtual VirtualDisk? Parent => null;

    /// <summary>Observes and holds up changes; each change enters it.</summary>
    internal ChangeControl Changes { get; } = new();

    /// <inheritdoc/>
    public ValueTask ReadAsync(long offset, ReadOnlyMemory<Memory<byte>> buffers, CancellationToken cancellationToken = default)
    {
        if (Refused(offset, TotalLength(buffers), writes: false, cancellationToken, out var refusal))
        {
            return refusal;
        }

        var slice = new BufferSlice(buffers, 0, (int)TotalLength(buffers));
        try
        {
            return slice.Length > InlineLimit ? BlockRequest.StartRead(this, offset, slice)
                : SplitRead.Suits(this, offset, slice.Length) ? SplitRead.Read(this, offset, slice)
                : Read(offset, slice, cachedOnly: true) ? ValueTask.CompletedTask
                : BlockRequest.StartRead(this, offset, slice);
        }
        catch (IOException error)
        {
            return ValueTask.FromException(error);
        }
    }

    /// <inheritdoc/>
    public ValueTask WriteAsync(
        long offset, ReadOnlyMemory<Memory<byte>> buffers, bool forceUnitAccess = false, CancellationToken cancellationToken = default)
    {
        if (Refused(offset, TotalLength(buffers), writes: true, cancellationToken, out var refusal))
        {
            return refusal;
        }

        var slice = new BufferSlice(buffers, 0, (int)TotalLength(buffers));
        if (forceUnitAccess || slice.Length > InlineLimit)
        {
            return BlockRequest.Start(
                this, forceUnitAccess ? BlockRequest.Operation.WriteThrough : BlockRequest.Operation.Write, offset, slice.Length, slice);
        }

        try
        {
            Write(offset, slice, durable: false);
            return ValueTask.CompletedTask;
        }
        catch (IOException error)
        {
            return ValueTask.FromException(error);
        }
    }

    /// <inheritdoc/>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        cancellationToken.IsCancellationRequested ? ValueTask.FromCanceled(cancellationToken)
        : IsReadOnly ? ValueTask.CompletedTask
        : BlockRequest.Start(this, BlockRequest.Operation.Flush, 0, 0, default);

    /// <inheritdoc/>
    public ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        Refused(offset, length, writes: true, cancellationToken, out var refusal)
            ? refusal
            : BlockRequest.Start(this, BlockRequest.Operation.Trim, offset, length, default);

    /// <inheritdoc/>
    public ValueTask ZeroAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        Refused(offset, length, writes: true, cancellationToken, out var refusal)
            ? refusal
            : BlockRequest.Start(this, BlockRequest.Operation.Zero, offset, length, default);

    /// <summary>Flushes and closes; an error means that the last flushed state is what is on the storage.</summary>
    public ValueTask DisposeAsync()
    {
        GC.SuppressFinalize(this);
        Close();
        return ValueTask.CompletedTask;
    }

    /// <summary>Reads; false when <paramref name="cachedOnly"/> and the storage would have to be waited for.</summary>
    internal abstract bool Read(long offset, in BufferSlice target, bool cachedOnly);

    /// <summary>Finds the one place in one file that holds a range; false when there is not just one. The caller is in an epoch.</summary>
    internal abstract bool TryLocate(long offset, int length, [NotNullWhen(true)] out IDiskFile? file, out long fileOffset);

    internal abstract void Write(long offset, in BufferSlice source, bool durable);

    internal abstract void Flush();

    internal abstract void Trim(long offset, long length);

    internal abstract void Zero(long offset, long length);

    /// <summary>What the range that starts at <paramref name="offset"/> holds, and how far it goes (at most to the disk's end).</summary>
    /// <remarks>Only this layer is asked: what it leaves to its parent is <see cref="RangeContent.Absent"/>.</remarks>
    internal abstract RangeContent Describe(long offset, out long length);

    /// <summary>Flushes and closes.</summary>
    internal abstract void Close();

    private static long TotalLength(ReadOnlyMemory<Memory<byte>> buffers)
    {
        long total = 0;
        foreach (var buffer in buffers.Span)
        {
            total += buffer.Length;
        }

        return total;
    }

    private bool Refused(long offset, long length, bool writes, CancellationToken cancellationToken, out ValueTask refusal)
    {
        refusal = default;
        if (cancellationToken.IsCancellationRequested)
        {
            refusal = ValueTask.FromCanceled(cancellationToken);
        }
        else if (offset < 0 || length < 0 || offset > Length || length > Length - offset)
        {
            refusal = Fail($"{Path}: {length} bytes at offset {offset} are not inside the disk's {Length} bytes.");
        }
        else if (((offset | length) & (LogicalSectorSize - 1)) != 0)
        {
            refusal = Fail($"{Path}: {length} bytes at offset {offset} are not whole sectors of {LogicalSectorSize} bytes.");
        }
        else if (writes && IsReadOnly)
        {
            refusal = Fail($"{Path}: the disk is open read-only.");
        }
        else if (length > int.MaxValue && !writes)
        {
            refusal = Fail($"{Path}: a request of {length} bytes is too long.");
        }
        else
        {
            return false;
        }

        return true;
    }

    private static ValueTask Fail(string message) => ValueTask.FromException(new BlockIOException(message));
}
