using System.Collections.Concurrent;
using System.Numerics;
using System.Runtime.ExceptionServices;
using Vitro.Storage.Tracking;

namespace Vitro.Storage.Operations;

/// <summary>Copies a disk as it was at one moment while it is written: a granule is copied before its first change.</summary>
/// <remarks>
/// Each granule is claimed once, by the copy's own threads going through the disk or by the request that is about to change it;
/// whoever claims it copies it, and a change waits for the granules of others. A failing target ends the copy, never a request.
/// </remarks>
internal sealed class MomentCopier : IChangeObserver
{
    private const int SmallestGranule = 64 << 10;
    private const long MostGranules = 8 << 20;
    private const int ChunkSize = 256 << 10;
    private const int Workers = 2;
    private const int WordBits = 64;

    private readonly VirtualDisk _source;
    private readonly VirtualDisk _target;
    private readonly IProgress<DiskProgress>? _progress;
    private readonly CancellationToken _cancellation;
    private readonly object _gate = new();
    private readonly object _telling = new();
    private readonly ConcurrentBag<ChunkCopier> _copiers = [];
    private readonly int _granule;
    private readonly long _granules;
    private readonly long[] _claimed;
    private readonly long[] _done;
    private long _next;
    private long _left;
    private Exception? _failure;

    internal MomentCopier(VirtualDisk source, VirtualDisk target, IProgress<DiskProgress>? progress, CancellationToken cancellation)
    {
        _source = source;
        _target = target;
        _progress = progress;
        _cancellation = cancellation;
        _granule = (int)Math.Max(
            SmallestGranule, (long)BitOperations.RoundUpToPowerOf2((ulong)((source.Length + MostGranules - 1) / MostGranules)));
        _granules = (source.Length + _granule - 1) / _granule;
        _claimed = new long[(_granules + WordBits - 1) / WordBits];
        _done = new long[_claimed.Length];
        _left = _granules;
    }

    internal void Run(Action? atMoment)
    {
        try
        {
            _source.Changes.AtRest(() =>
            {
                atMoment?.Invoke();
                _source.Changes.Add(this);
            });
            var threads = Enumerable.Range(1, Workers - 1).Select(_ => new Thread(Work) { IsBackground = true, Name = "disk-copy" }).ToArray();
            foreach (var thread in threads)
            {
                thread.Start();
            }

            Work();
            foreach (var thread in threads)
            {
                thread.Join();
            }

            // Requests may still be at granules they claimed: until those are copied, other changes to them must wait.
            Tell();
            lock (_gate)
            {
                while (_left > 0 && !IsOver)
                {
                    Monitor.Wait(_gate);
                }
            }
        }
        finally
        {
            // Requests that were told still use the target.
            _source.Changes.Remove(this);
            _source.Changes.Drain();
        }

        if (_failure is not null)
        {
            ExceptionDispatchInfo.Throw(_failure);
        }

        _cancellation.ThrowIfCancellationRequested();
        _progress?.Report(new DiskProgress(_source.Length, _source.Length));
    }

    void IChangeObserver.BeforeChange(long offset, long length)
    {
        if (length == 0)
        {
            return;
        }

        var end = (offset + length - 1) / _granule;
        for (var granule = offset / _granule; granule <= end && !IsOver; granule++)
        {
            if (Bit(_done, granule))
            {
                continue;
            }

            if (TryClaim(granule))
            {
                Copy(granule, 1);
                continue;
            }

            lock (_gate)
            {
                while (!Bit(_done, granule) && !IsOver)
                {
                    Monitor.Wait(_gate);
                }
            }
        }
    }

    private bool IsOver => Volatile.Read(ref _failure) is not null;

    private static bool Bit(long[] bits, long index) => (Volatile.Read(ref bits[index / WordBits]) >> (int)(index % WordBits) & 1) != 0;

    private bool TryClaim(long granule)
    {
        var mask = 1L << (int)(granule % WordBits);
        return (Interlocked.Or(ref _claimed[granule / WordBits], mask) & mask) == 0;
    }

    private void Work()
    {
        var run = Math.Max(1, ChunkSize / _granule);
        while (!IsOver)
        {
            if (_cancellation.IsCancellationRequested)
            {
                Fail(new OperationCanceledException(_cancellation));
                return;
            }

            // Runs start at multiples of their length, so that workers do not meet in one block of the target.
            var first = Interlocked.Add(ref _next, run) - run;
            if (first >= _granules)
            {
                return;
            }

            for (var granule = first; granule < Math.Min(first + run, _granules);)
            {
                var count = 0;
                while (granule + count < Math.Min(first + run, _granules) && TryClaim(granule + count))
                {
                    count++;
                }

                if (count > 0)
                {
                    Copy(granule, count);
                }

                granule += Math.Max(count, 1);
            }

            Tell();
        }
    }

    // One worker at a time, and what it found before another one did is told before.
    private void Tell()
    {
        lock (_telling)
        {
            _progress?.Report(new DiskProgress(Math.Max(0, _source.Length - (Volatile.Read(ref _left) * _granule)), _source.Length));
        }
    }

    private void Copy(long granule, int count)
    {
        try
        {
            if (!_copiers.TryTake(out var copier))
            {
                copier = new ChunkCopier(_source, _target, targetIsZero: true, ChunkSize);
            }

            var end = Math.Min((granule + count) * _granule, _source.Length);
            for (var offset = granule * _granule; offset < end;)
            {
                var content = ChainContent.Describe(_source, below: null, offset, end - offset, out var length, out _);
                length = Math.Min(Math.Max(length & -_target.LogicalSectorSize, _target.LogicalSectorSize), end - offset);
                if (content == RangeContent.Data)
                {
                    length = Math.Min(length, ChunkSize);
                    copier.Copy(offset, (int)length);
                }

                offset += length;
            }

            _copiers.Add(copier);
        }
        catch (Exception error)
        {
            Fail(error);
            return;
        }

        lock (_gate)
        {
            for (var i = granule; i < granule + count; i++)
            {
                _done[i / WordBits] |= 1L << (int)(i % WordBits);
            }

            _left -= count;

            Monitor.PulseAll(_gate);
        }
    }

    private void Fail(Exception error)
    {
        lock (_gate)
        {
            _failure ??= error;
            Monitor.PulseAll(_gate);
        }
    }
}
