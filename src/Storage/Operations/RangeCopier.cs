using Vitro.Storage.Files;

namespace Vitro.Storage.Operations;

/// <summary>Copies the stored ranges of one disk into another with several threads, leaving zeroes out.</summary>
internal sealed class RangeCopier
{
    // Small enough to be still in the processor's cache when it is written.
    private const int ChunkSize = 256 << 10;
    private const int Workers = 3;

    private readonly VirtualDisk _source;
    private readonly VirtualDisk? _below;
    private readonly VirtualDisk _target;
    private readonly bool _targetIsZero;
    private readonly IProgress<DiskProgress>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly object _gate = new();
    private readonly long _end;
    private long _next;
    private Exception? _failure;

    /// <summary>Prepares a copy.</summary>
    /// <param name="source">The disk to read.</param>
    /// <param name="below">Copy only what the layers above this one hold; null copies all.</param>
    /// <param name="target">The disk to write; may be shorter when nothing but zeroes lies beyond.</param>
    /// <param name="targetIsZero">The target is new: zeroes need not be written.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops between chunks.</param>
    internal RangeCopier(
        VirtualDisk source, VirtualDisk? below, VirtualDisk target, bool targetIsZero,
        IProgress<DiskProgress>? progress, CancellationToken cancellation)
    {
        _source = source;
        _below = below;
        _target = target;
        _targetIsZero = targetIsZero;
        _progress = progress;
        _cancellation = cancellation;
        _end = Math.Min(source.Length, target.Length);
    }

    internal void Run()
    {
        var threads = new Thread[Workers - 1];
        for (var i = 0; i < threads.Length; i++)
        {
            threads[i] = new Thread(Work) { IsBackground = true, Name = "disk-copy" };
            threads[i].Start();
        }

        Work();
        foreach (var thread in threads)
        {
            thread.Join();
        }

        if (_failure is not null)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(_failure);
        }

        _cancellation.ThrowIfCancellationRequested();
        _progress?.Report(new DiskProgress(_end, _end));
    }

    private void Work()
    {
        try
        {
            var copier = new ChunkCopier(_source, _target, _targetIsZero, ChunkSize);
            while (Take(out var offset, out var length, out var zero))
            {
                if (zero)
                {
                    _target.Zero(offset, length);
                }
                else
                {
                    copier.Copy(offset, (int)length);
                }
            }
        }
        catch (Exception error)
        {
            lock (_gate)
            {
                _failure ??= error;
            }
        }
    }

    private bool Take(out long offset, out long length, out bool zero)
    {
        lock (_gate)
        {
            while (_next < _end && _failure is null && !_cancellation.IsCancellationRequested)
            {
                offset = _next;
                var content = ChainContent.Describe(_source, _below, offset, _end - offset, out length, out _);
                zero = content == RangeContent.Zero;
                if (content == RangeContent.Data)
                {
                    // Chunks end where the target's blocks do, so that two workers rarely meet in one.
                    length = Math.Min(length, ChunkSize - (offset & (ChunkSize - 1)));
                }

                length = Math.Min(Align(length), _end - offset);
                _next += length;
                _progress?.Report(new DiskProgress(_next, _end));
                if (content == RangeContent.Data || (zero && !_targetIsZero))
                {
                    return true;
                }
            }

            offset = length = 0;
            zero = false;
            return false;
        }
    }

    private long Align(long length) => Math.Max(length & -_target.LogicalSectorSize, _target.LogicalSectorSize);
}
