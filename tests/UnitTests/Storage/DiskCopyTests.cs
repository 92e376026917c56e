using Vitro.Storage;
using Vitro.UnitTests.Storage.Crash;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Copies of a disk that is written meanwhile.</summary>
public sealed class DiskCopyTests : IDisposable
{
    private const int Megabyte = 1 << 20;
    private const int Length = (12 * Megabyte) + 4096;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<DiskFormat, DiskKind, DiskFormat, int> Runs()
    {
        var runs = new TheoryData<DiskFormat, DiskKind, DiskFormat, int>();
        for (var seed = 1; seed <= 2; seed++)
        {
            runs.Add(DiskFormat.Vhdx, DiskKind.Dynamic, DiskFormat.Vhdx, seed);
            runs.Add(DiskFormat.Vhdx, DiskKind.Differencing, DiskFormat.Raw, seed);
            runs.Add(DiskFormat.Vhd, DiskKind.Dynamic, DiskFormat.Vhdx, seed);
            runs.Add(DiskFormat.Vhd, DiskKind.Fixed, DiskFormat.Vhd, seed);
            runs.Add(DiskFormat.Raw, DiskKind.Fixed, DiskFormat.Vhdx, seed);
        }

        return runs;
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void A_copy_holds_what_the_disk_held_at_its_moment(DiskFormat format, DiskKind kind, DiskFormat targetFormat, int seed)
    {
        var disk = MakeDisk(format, kind, seed);
        using var stop = new CancellationTokenSource();
        using var begun = new CountdownEvent(2);
        var writers = Enumerable.Range(0, 2).Select(number => new Thread(() => WriteUntil(disk, begun, (seed * 10) + number, stop.Token))).ToArray();
        Array.ForEach(writers, writer => writer.Start());
        begun.Wait(TestContext.Current.CancellationToken);
        byte[] moment = [];
        byte[] later = [];
        var target = _folder.File("copy");

        DiskCopy.Run(disk, target, TargetOf(targetFormat), atMoment: () =>
        {
            moment = disk.GetAll();
            later = disk.GetAll();
        });

        stop.Cancel();
        Array.ForEach(writers, writer => writer.Join());
        Assert.True(moment.AsSpan().SequenceEqual(later), "the disk changed at the moment");
        disk.Close();
        var copy = DiskFactory.Open(target, new DiskOpenOptions { ReadOnly = true });
        var copied = copy.GetAll();
        var same = moment.AsSpan().CommonPrefixLength(copied);
        var shown = Math.Min(16, Length - same);
        Assert.True(
            same == Length,
            $"at {same}: {Convert.ToHexString(moment.AsSpan(same, shown))} at the moment, {Convert.ToHexString(copied.AsSpan(same, shown))} in the copy");
        copy.Close();
        Assert.True(DiskCheck.Run(target).IsSound);
    }

    [Fact]
    public void The_changes_since_the_moment_make_the_copy_the_disk()
    {
        var disk = MakeDisk(DiskFormat.Vhdx, DiskKind.Dynamic, 1);
        var tracker = ChangeTracker.Attach(disk);
        using var stop = new CancellationTokenSource();
        using var begun = new CountdownEvent(1);
        var writer = new Thread(() => WriteUntil(disk, begun, 1, stop.Token));
        writer.Start();
        begun.Wait(TestContext.Current.CancellationToken);

        DiskCopy.Run(disk, _folder.File("copy"), TargetOf(DiskFormat.Vhdx), atMoment: () => tracker.StartPoint());

        stop.Cancel();
        writer.Join();
        var copy = DiskFactory.Open(_folder.File("copy"));
        foreach (var range in tracker.Changes())
        {
            copy.Put(range.Offset, disk.Get(range.Offset, (int)range.Length));
        }

        Assert.True(disk.GetAll().AsSpan().SequenceEqual(copy.GetAll()));
        copy.Close();
        disk.Close();
        tracker.Dispose();
    }

    [Fact]
    public void A_failing_target_ends_the_copy_and_no_request()
    {
        var disk = MakeDisk(DiskFormat.Vhdx, DiskKind.Dynamic, 1);
        using var cancelled = new CancellationTokenSource();

        Assert.Throws<OperationCanceledException>(() =>
            DiskCopy.Run(disk, _folder.File("copy"), TargetOf(DiskFormat.Vhdx), atMoment: cancelled.Cancel, cancellation: cancelled.Token));

        disk.Put(0, DiskContent.Random(Length, 2));
        Assert.Equal(DiskContent.Random(Length, 2), disk.GetAll());
        disk.Close();
        Assert.False(File.Exists(_folder.File("copy")));
        Assert.Equal(2, Directory.GetFiles(_folder.Root).Length); // the disk and its parent
    }

    [Theory]
    [InlineData(DiskFormat.Vhdx)]
    [InlineData(DiskFormat.Vhd)]
    public void A_crash_leaves_the_disk_and_a_whole_copy_or_none(DiskFormat format)
    {
        const string path = "/disks/disk";
        const string target = "/disks/copy";
        var random = new Random(1);
        var files = new CrashFileSystem();
        DiskFactory.Create(path, new DiskCreateOptions { Format = format, Length = 4 * Megabyte, BlockSize = Megabyte, FileSystem = files });
        var disk = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = files });
        var content = DiskContent.Random(2 * Megabyte, 1);
        disk.Put(Megabyte, content);
        disk.Close();
        files = files.Settled();
        disk = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = files });
        var written = DiskContent.Random(Megabyte, 2);

        DiskCopy.Run(
            disk, target, new DiskCreateOptions { Format = format, BlockSize = Megabyte, FileSystem = files },
            progress: new Progress(() => disk.Put(Megabyte, written)));
        disk.Close();

        for (var count = 0; count <= files.Events; count++)
        {
            var crashed = files.After(count, (CrashMode)(count % 4), random);
            Assert.True(DiskCheck.Run(path, options: new DiskOpenOptions { FileSystem = crashed }).IsSound, $"{count}");
            var source = DiskFactory.Open(path, new DiskOpenOptions { FileSystem = crashed, ReadOnly = true });
            Assert.True(content.AsSpan(Megabyte).SequenceEqual(source.Get(2 * Megabyte, Megabyte)), $"{count}");
            source.Close();
            if (crashed.Exists(target))
            {
                var copy = DiskFactory.Open(target, new DiskOpenOptions { FileSystem = crashed, ReadOnly = true });
                Assert.True(content.AsSpan().SequenceEqual(copy.Get(Megabyte, 2 * Megabyte)), $"{count}");
                copy.Close();
            }
        }
    }

    private static DiskCreateOptions TargetOf(DiskFormat format) => new()
    {
        Format = format,
        Kind = format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
        BlockSize = format == DiskFormat.Raw ? 0 : Megabyte,
        Sparse = true,
    };

    private static void WriteUntil(VirtualDisk disk, CountdownEvent begun, int seed, CancellationToken stop)
    {
        var random = new Random(seed);
        for (var step = 0; !stop.IsCancellationRequested; step++)
        {
            var length = 512 * random.Next(1, 300);
            var offset = random.Next((Length - length) / 512) * 512;
            switch (random.Next(8))
            {
                case 0:
                    disk.Zero(offset, length);
                    break;
                case 1:
                    disk.Zero(offset & -Megabyte, Math.Min(Megabyte, Length - (offset & -Megabyte)));
                    break;
                case 2:
                    disk.Flush();
                    break;
                default:
                    disk.Put(offset, DiskContent.Random(length, random.Next()));
                    break;
            }

            if (step == 20)
            {
                begun.Signal();
            }
        }
    }

    private VirtualDisk MakeDisk(DiskFormat format, DiskKind kind, int seed)
    {
        var options = new DiskCreateOptions { Format = format, Kind = kind, Length = Length, Sparse = true, BlockSize = format == DiskFormat.Raw ? 0 : Megabyte };
        var parent = _folder.File("parent");
        DiskFactory.Create(parent, options with { Kind = kind == DiskKind.Differencing ? DiskKind.Dynamic : kind });
        var below = DiskFactory.Open(parent);
        below.Put(Megabyte, DiskContent.Random(6 * Megabyte, seed));
        below.Close();
        var path = _folder.File("disk");
        if (kind == DiskKind.Differencing)
        {
            DiskFactory.Create(path, options with { ParentPath = parent });
        }
        else
        {
            File.Copy(parent, path);
        }

        return DiskFactory.Open(path);
    }

    private sealed class Progress(Action first) : IProgress<DiskProgress>
    {
        private Action? _first = first;

        public void Report(DiskProgress value) => Interlocked.Exchange(ref _first, null)?.Invoke();
    }
}
