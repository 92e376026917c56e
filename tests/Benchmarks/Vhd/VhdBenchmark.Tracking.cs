using Vitro.Storage;

namespace Vitro.Benchmarks.Vhd;

/// <content>What it costs to remember changes.</content>
internal sealed partial class VhdBenchmark
{
    private const double TrackingGoal = 1.02;

    // Four regions of the record: their marks, which must be durable before the region's first change, are part of what is timed.
    private const long TrackedLength = 1024L * Megabyte;

    private void Tracking()
    {
        Fresh(At("tracked.vhdx"), allocated: true, DiskFormat.Vhdx, TrackedLength);
        foreach (var (size, count, depth) in new[] { (4096, 200_000, 1), (Megabyte, 4096, 1), (Megabyte, 4096, 32) })
        {
            var step = size == 4096 ? 4096L * 10_007 : size;
            Compare(
                $"write {(size == 4096 ? "random 4 KiB" : "sequential 1 MiB")}, depth {depth}, changes tracked", "1/s", MeasureKind.Rate, TrackingGoal,
                () => Drive(At("tracked.vhdx"), size, count, depth, write: true, step, tracked: true, TrackedLength),
                () => Drive(At("tracked.vhdx"), size, count, depth, write: true, step, tracked: false, TrackedLength),
                "not tracked");
        }
    }
}
