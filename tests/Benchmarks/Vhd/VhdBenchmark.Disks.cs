using Vitro.Storage;
using Vitro.Storage.Files;

namespace Vitro.Benchmarks.Vhd;

/// <content>Two disks of our own against each other.</content>
internal sealed partial class VhdBenchmark
{
    private const int Slices = 50;

    /// <summary>Requests to a disk.</summary>
    private sealed record Load(int Size, int Count, int Depth, bool Write, long Step, long Length);

    /// <summary>Compares in slices that take turns within a fraction of a second, so that a busy host disturbs both disks alike.</summary>
    /// <param name="name">The measure.</param>
    /// <param name="goal">The ratio that is aimed at.</param>
    /// <param name="load">What both do.</param>
    /// <param name="open">Opens the one and the other; told which half of a round it is for, as what can be swapped is swapped between halves.</param>
    /// <param name="otherName">What the other is.</param>
    private void CompareDisks(string name, double goal, Load load, Func<int, (OpenDisk One, OpenDisk Other)> open, string otherName)
    {
        var samples = new Queue<(Sample One, Sample Other)>();
        for (var round = 0; round < _rounds; round++)
        {
            var (a, b) = (default(Sample), default(Sample));
            for (var half = 0; half < 2; half++)
            {
                var (one, other) = open(half);
                using var first = one;
                using var second = other;
                for (var slice = 0; slice < Slices; slice++)
                {
                    // Which is first changes too.
                    if (slice % 2 == 0)
                    {
                        a = Add(a, first.Run(load.Count / Slices));
                        b = Add(b, second.Run(load.Count / Slices));
                    }
                    else
                    {
                        b = Add(b, second.Run(load.Count / Slices));
                        a = Add(a, first.Run(load.Count / Slices));
                    }
                }
            }

            samples.Enqueue((a with { Value = 2 * load.Count / a.Value }, b with { Value = 2 * load.Count / b.Value }));
        }

        var all = samples.ToArray();
        var next = 0;
        Compare(name, "1/s", MeasureKind.Rate, goal, () => all[next++].One, () => all[next].Other, otherName);

        static Sample Add(Sample sum, Sample slice) => new(sum.Value + slice.Value, sum.Processor + slice.Processor);
    }

    /// <summary>A disk under a load.</summary>
    private sealed class OpenDisk : IDisposable
    {
        private readonly Load _load;
        private readonly VirtualDisk _disk;
        private readonly ChangeTracker? _tracker;
        private readonly ReadOnlyMemory<Memory<byte>>[] _buffers;
        private long _next;
        private int _left;

        internal OpenDisk(string path, Load load, bool tracked = false)
        {
            _load = load;
            _disk = DiskFactory.Open(path);
            _tracker = tracked ? ChangeTracker.Attach(_disk) : null;
            _buffers = Enumerable.Range(0, load.Depth).Select(_ => Buffers(load.Size)).ToArray();
            if (load.Write)
            {
                // What a session's first write does to the headers is no part of the rate.
                _disk.WriteAsync(0, _buffers[0]).AsTask().GetAwaiter().GetResult();
            }
        }

        /// <summary>Seconds that so many requests take.</summary>
        internal Sample Run(int count)
        {
            _left = count;
            return Timed(() => Task.WaitAll(_buffers.Select(LoopAsync).ToArray()));
        }

        public void Dispose()
        {
            _disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
            _tracker?.Dispose();
        }

        private async Task LoopAsync(ReadOnlyMemory<Memory<byte>> buffers)
        {
            while (Interlocked.Decrement(ref _left) >= 0)
            {
                var offset = Math.Min((Interlocked.Add(ref _next, _load.Step) - _load.Step) % _load.Length, _load.Length - _load.Size);
                if (_load.Write)
                {
                    await _disk.WriteAsync(offset, buffers);
                }
                else
                {
                    await _disk.ReadAsync(offset, buffers);
                }
            }
        }

        // Aligned and touched, as qemu-img's and guests' are.
        private static ReadOnlyMemory<Memory<byte>> Buffers(int size)
        {
            var buffer = AlignedBuffer.Allocate(size);
            buffer.Span.Fill(0x5A);
            return new[] { buffer };
        }
    }
}
