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
        FreshTogether([(At("one.vhdx"), DiskFormat.Vhdx), (At("two.vhdx"), DiskFormat.Vhdx)], TrackedLength);

        // Both files are tracked in turn.
        foreach (var (size, count) in new[] { (4096, 200_000), (Megabyte, 2048) })
        {
            var load = new Load(size, count, Depth: 1, Write: true, size == 4096 ? 4096L * 10_007 : size, TrackedLength);
            CompareDisks(
                $"write {(size == 4096 ? "random 4 KiB" : "sequential 1 MiB")}, depth 1, changes tracked", TrackingGoal, load,
                half => (new OpenDisk(At(half == 0 ? "one.vhdx" : "two.vhdx"), load, tracked: true), new OpenDisk(At(half == 0 ? "two.vhdx" : "one.vhdx"), load)),
                "not tracked");
        }
    }
}
