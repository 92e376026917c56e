using Vitro.Storage;

namespace Vitro.UnitTests.Vsp.Storage;

/// <summary>A disk in memory that can hold its requests back and fail them.</summary>
internal sealed class MemoryDisk(int length, bool readOnly = false, bool supportsTrim = true) : IBlockDevice
{
    private readonly Lock _gate = new();

    public byte[] Content { get; } = new byte[length];

    public long Length { get; set; } = length;

    public int LogicalSectorSize => 512;

    public int PhysicalSectorSize => 4096;

    public bool IsReadOnly => readOnly;

    public Guid Identity { get; } = new("00112233-4455-6677-8899-aabbccddeeff");

    public bool SupportsTrim => supportsTrim;

    internal int FlushCount { get; private set; }

    internal int ForcedWriteCount { get; private set; }

    internal List<(long Offset, long Length)> Trims { get; } = [];

    /// <summary>While set, requests wait for it.</summary>
    internal TaskCompletionSource? Gate { get; set; }

    internal bool Fails { get; set; }

    public async ValueTask ReadAsync(long offset, ReadOnlyMemory<Memory<byte>> buffers, CancellationToken cancellationToken = default)
    {
        await PassAsync();
        lock (_gate)
        {
            foreach (var buffer in buffers.Span)
            {
                Content.AsSpan((int)offset, buffer.Length).CopyTo(buffer.Span);
                offset += buffer.Length;
            }
        }
    }

    public async ValueTask WriteAsync(
        long offset, ReadOnlyMemory<Memory<byte>> buffers, bool forceUnitAccess = false, CancellationToken cancellationToken = default)
    {
        await PassAsync();
        lock (_gate)
        {
            ForcedWriteCount += forceUnitAccess ? 1 : 0;
            foreach (var buffer in buffers.Span)
            {
                buffer.Span.CopyTo(Content.AsSpan((int)offset));
                offset += buffer.Length;
            }
        }
    }

    public async ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        await PassAsync();
        FlushCount++;
    }

    public ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        Trims.Add((offset, length));
        return ZeroAsync(offset, length, cancellationToken);
    }

    public async ValueTask ZeroAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        await PassAsync();
        lock (_gate)
        {
            Content.AsSpan((int)offset, (int)length).Clear();
        }
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private async ValueTask PassAsync()
    {
        if (Gate is { } gate)
        {
            await gate.Task;
        }

        if (Fails)
        {
            throw new BlockIOException("The test's disk fails.");
        }
    }
}
