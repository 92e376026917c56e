using Vitro.Storage;

namespace Vitro.Fuzz.Targets;

/// <summary>Checks what reaches it and keeps nothing.</summary>
internal sealed class VoidDisk : IBlockDevice
{
    public long Length => 1 << 20;

    public int LogicalSectorSize => 512;

    public int PhysicalSectorSize => 4096;

    public bool IsReadOnly => false;

    public Guid Identity => Guid.Empty;

    public bool SupportsTrim => true;

    public ValueTask ReadAsync(long offset, ReadOnlyMemory<Memory<byte>> buffers, CancellationToken cancellationToken = default)
    {
        long length = 0;
        foreach (var buffer in buffers.Span)
        {
            buffer.Span.Fill(0xCC);
            length += buffer.Length;
        }

        return Check(offset, length);
    }

    public ValueTask WriteAsync(
        long offset, ReadOnlyMemory<Memory<byte>> buffers, bool forceUnitAccess = false, CancellationToken cancellationToken = default)
    {
        long length = 0;
        foreach (var buffer in buffers.Span)
        {
            length += buffer.Length;
        }

        return Check(offset, length);
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

    public ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default) => Check(offset, length);

    public ValueTask ZeroAsync(long offset, long length, CancellationToken cancellationToken = default) => Check(offset, length);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private ValueTask Check(long offset, long length)
    {
        // Not a BlockIOException: the controller would answer it, and the fault would go unseen.
        if (offset < 0 || length <= 0 || offset + length > Length || offset % 512 != 0 || length % 512 != 0)
        {
            Environment.FailFast($"The disk was asked for {length} bytes at {offset}.");
        }

        return ValueTask.CompletedTask;
    }
}
