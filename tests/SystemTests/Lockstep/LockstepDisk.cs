using System.Runtime.InteropServices;
using Vitro.Foundation;
using Vitro.Storage;

namespace Vitro.SystemTests.Lockstep;

/// <summary>
/// A disk whose requests have all completed when their calls return, whatever threads of the host's they took, and that keeps a record of its changes.
/// </summary>
internal sealed class LockstepDisk(VirtualDisk disk) : IBlockDevice
{
    private uint _checksum = uint.MaxValue;
    private long _count;

    /// <summary>How many changes there were, and a checksum of them, their places and their order.</summary>
    internal (long Count, uint Checksum) Changes => (_count, _checksum);

    public long Length => disk.Length;

    public int LogicalSectorSize => disk.LogicalSectorSize;

    public int PhysicalSectorSize => disk.PhysicalSectorSize;

    public bool IsReadOnly => disk.IsReadOnly;

    public Guid Identity => disk.Identity;

    public bool SupportsTrim => disk.SupportsTrim;

    public ValueTask ReadAsync(long offset, ReadOnlyMemory<Memory<byte>> buffers, CancellationToken cancellationToken = default) =>
        Wait(disk.ReadAsync(offset, buffers, cancellationToken));

    public ValueTask WriteAsync(
        long offset, ReadOnlyMemory<Memory<byte>> buffers, bool forceUnitAccess = false, CancellationToken cancellationToken = default)
    {
        Note(offset, forceUnitAccess ? 1 : 0);
        foreach (var buffer in buffers.Span)
        {
            _checksum = Crc32C.Add(_checksum, buffer.Span);
        }

        return Wait(disk.WriteAsync(offset, buffers, forceUnitAccess, cancellationToken));
    }

    public ValueTask FlushAsync(CancellationToken cancellationToken = default)
    {
        Note(0, 0);
        return Wait(disk.FlushAsync(cancellationToken));
    }

    public ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        Note(offset, length);
        return Wait(disk.TrimAsync(offset, length, cancellationToken));
    }

    public ValueTask ZeroAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        Note(offset, length);
        return Wait(disk.ZeroAsync(offset, length, cancellationToken));
    }

    public ValueTask DisposeAsync() => disk.DisposeAsync();

    private void Note(long offset, long detail)
    {
        _checksum = Crc32C.Add(_checksum, MemoryMarshal.AsBytes([offset, detail]));
        _count++;
    }

    private static ValueTask Wait(ValueTask request)
    {
        request.AsTask().GetAwaiter().GetResult();
        return ValueTask.CompletedTask;
    }
}
