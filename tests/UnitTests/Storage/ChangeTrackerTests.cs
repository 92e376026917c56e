using Vitro.Storage;
using Vitro.UnitTests.Storage.Crash;
using Xunit;

namespace Vitro.UnitTests.Storage;

public sealed class ChangeTrackerTests
{
    private const int Megabyte = 1 << 20;
    private const int Length = 8 * Megabyte;
    private const string Path = "/disks/disk";
    private const string Record = "/disks/disk.rct";

    private readonly CrashFileSystem _files = new();

    public ChangeTrackerTests() =>
        DiskFactory.Create(Path, new DiskCreateOptions { Length = Length, BlockSize = Megabyte, FileSystem = _files });

    [Fact]
    public void Changes_are_remembered_through_a_restart()
    {
        var point = Session(_files, disk => disk.Put(Megabyte, new byte[512]));
        Session(_files, disk => disk.Zero(3 * Megabyte, 512));

        Session(_files, tracker: tracker =>
        {
            Assert.Equal(point, tracker.PointId);
            Assert.Equal([new ChangedRange(Megabyte, 64 << 10), new ChangedRange(3 * Megabyte, 64 << 10)], tracker.Changes());
        });
    }

    [Fact]
    public void A_new_point_hands_out_the_changes_and_starts_with_none()
    {
        Session(_files, disk => disk.Put(Megabyte, new byte[512]), tracker =>
        {
            var old = tracker.PointId;
            Assert.Equal([new ChangedRange(Megabyte, 64 << 10)], tracker.StartPoint());
            Assert.NotEqual(old, tracker.PointId);
            Assert.Empty(tracker.Changes());
        });

        Session(_files, disk => disk.Put(0, new byte[512]), tracker => Assert.Equal([new ChangedRange(0, 64 << 10)], tracker.Changes()));
    }

    [Fact]
    public void What_was_changed_untracked_makes_everything_count_as_changed()
    {
        Session(_files, disk => disk.Put(Megabyte, new byte[512]));
        var disk = DiskFactory.Open(Path, new DiskOpenOptions { FileSystem = _files });
        disk.Put(0, DiskContent.Random(512, 1));
        disk.Close();

        Session(_files, tracker: tracker => Assert.Equal([new ChangedRange(0, Length)], tracker.Changes()));
    }

    [Fact]
    public void What_a_merge_moved_down_counts_as_changed_though_the_data_identity_stays()
    {
        const string child = "/disks/child";
        Session(_files, disk => disk.Put(Megabyte, new byte[512]));
        DiskFactory.Create(child, new DiskCreateOptions { Kind = DiskKind.Differencing, ParentPath = Path, FileSystem = _files });
        var disk = DiskFactory.Open(child, new DiskOpenOptions { FileSystem = _files });
        disk.Put(0, DiskContent.Random(512, 1));
        disk.Close();
        DiskMerge.Merge(child, keepMerged: true, options: new DiskOpenOptions { FileSystem = _files });

        Session(_files, tracker: tracker => Assert.Equal([new ChangedRange(0, Length)], tracker.Changes()));
    }

    [Fact]
    public void After_a_crash_the_changed_regions_and_their_neighbours_count_as_changed_and_no_others()
    {
        const string path = "/disks/large";
        const long gigabyte = 1L << 30;
        DiskFactory.Create(path, new DiskCreateOptions { Length = 64 * gigabyte, BlockSize = Megabyte, FileSystem = _files });
        var disk = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = _files });
        var tracking = ChangeTracker.Attach(disk, path + ".rct", _files);
        disk.Put(gigabyte + 4096, new byte[512]);
        disk.Put(40 * gigabyte, new byte[512]);
        disk.Flush();

        var crashed = _files.After(_files.Events, CrashMode.None, new Random(1));
        disk.Close();
        tracking.Dispose();
        disk = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = crashed });
        using var after = ChangeTracker.Attach(disk, path + ".rct", crashed);
        Assert.Equal([new ChangedRange(gigabyte, gigabyte), new ChangedRange(40 * gigabyte, 2 * gigabyte)], after.Changes());
        disk.Close();
    }

    [Fact]
    public void Tracking_a_raw_disk_is_refused()
    {
        DiskFactory.Create("/disks/raw", new DiskCreateOptions { Format = DiskFormat.Raw, Kind = DiskKind.Fixed, Length = Length, FileSystem = _files });
        var disk = DiskFactory.Open("/disks/raw", new DiskOpenOptions { FileSystem = _files });

        Assert.Throws<BlockIOException>(() => ChangeTracker.Attach(disk, null, _files));
        disk.Close();
    }

    [Fact]
    public void No_crash_makes_it_say_unchanged_of_what_changed()
    {
        var random = new Random(1);
        var start = new byte[Length];
        Session(_files, disk =>
        {
            start = DiskContent.Random(Length, 1);
            disk.Put(0, start);
        }, tracker => tracker.StartPoint());
        var files = _files.Settled();
        for (var i = 0; i < 3; i++)
        {
            Session(files, disk =>
            {
                for (var j = 0; j < 4; j++)
                {
                    disk.Put(random.Next(Length / 512) * 512, DiskContent.Random(512, random.Next()));
                    if (random.Next(2) == 0)
                    {
                        disk.Flush();
                    }
                }
            });
        }

        foreach (var mode in Enum.GetValues<CrashMode>())
        {
            for (var count = 0; count <= files.Events; count += 2)
            {
                var crashed = files.After(count, mode, random);
                Session(crashed, tracker: tracker =>
                {
                    var changes = tracker.Changes();
                    var disk = DiskFactory.Open(Path, new DiskOpenOptions { FileSystem = crashed, ReadOnly = true });
                    var now = disk.GetAll();
                    disk.Close();
                    for (var offset = 0; offset < Length; offset += 512)
                    {
                        Assert.True(
                            now.AsSpan(offset, 512).SequenceEqual(start.AsSpan(offset, 512))
                            || changes.Any(range => offset >= range.Offset && offset < range.Offset + range.Length),
                            $"{count} {mode}: the change at {offset} is not recorded");
                    }
                });
            }
        }
    }

    private static Guid Session(CrashFileSystem files, Action<VirtualDisk>? change = null, Action<ChangeTracker>? tracker = null)
    {
        var disk = DiskFactory.Open(Path, new DiskOpenOptions { FileSystem = files });
        using var tracking = ChangeTracker.Attach(disk, Record, files);
        change?.Invoke(disk);
        tracker?.Invoke(tracking);
        disk.Close();
        return tracking.PointId;
    }
}
