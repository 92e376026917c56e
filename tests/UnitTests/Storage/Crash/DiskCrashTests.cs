using Vitro.Storage;
using Vitro.Storage.Files;
using Xunit;

namespace Vitro.UnitTests.Storage.Crash;

/// <summary>
/// Crashes at every point of what the library does to its files: what was flushed is there, what was not is old or new, sector by
/// sector, and the file is sound.
/// </summary>
public sealed class DiskCrashTests
{
    private const int Megabyte = 1 << 20;
    private const int Length = (6 * Megabyte) + 1536;
    private const string Base = "/disks/base";
    private const string Top = "/disks/top";

    private static readonly bool Long = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1";

    public static TheoryData<DiskFormat, int, int> Runs()
    {
        var runs = new TheoryData<DiskFormat, int, int>();
        foreach (var format in new[] { DiskFormat.Vhd, DiskFormat.Vhdx })
        {
            for (var seed = 1; seed <= (Long ? 20 : 2); seed++)
            {
                runs.Add(format, 1, seed);
                runs.Add(format, 2, seed);
            }
        }

        return runs;
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void After_a_crash_flushed_data_is_there_and_the_file_is_sound(DiskFormat format, int levels, int seed)
    {
        var random = new Random(seed);
        var files = new CrashFileSystem();
        Create(files, format, Base, null);
        var model = new byte[Length];
        if (levels > 1)
        {
            var below = Open(files, Base);
            Scribble(below, model, seed);
            below.Close();
            Create(files, format, Top, Base);
        }

        var path = levels > 1 ? Top : Base;
        files = files.Settled();
        var history = new History(model);
        var disk = Open(files, path);
        for (var step = 0; step < 60; step++)
        {
            Step(disk, files, history, random);
            if (step % 20 == 19)
            {
                disk.Close();
                history.Flushed(files.Events);
                disk = Open(files, path);
            }
        }

        disk.Close();
        var found = new byte[Length];
        foreach (var (count, mode) in CrashPoints.Of(files.Events, random))
        {
            var crashed = files.After(count, mode, random);
            AssertSound(crashed, path, $"{count} {mode}");
            var reopened = Open(crashed, path);
            found.AsSpan().Fill(0xA5); // what a read leaves untouched shows
            reopened.Read(0, BufferSlice.Of(found), cachedOnly: false);
            history.AssertAllows(found, count, $"{count} {mode}");

            // It can be used as before.
            var data = DiskContent.Random(4096, count);
            for (var offset = 0; offset < Length - data.Length; offset += Megabyte)
            {
                reopened.Put(offset, data);
            }

            reopened.Close();
            reopened = Open(crashed, path);
            for (var offset = 0; offset < Length - data.Length; offset += Megabyte)
            {
                Assert.True(data.AsSpan().SequenceEqual(reopened.Get(offset, data.Length)));
            }

            reopened.Close();
            AssertSound(crashed, path, $"{count} {mode} used again");
        }
    }

    private static void Step(VirtualDisk disk, CrashFileSystem files, History history, Random random)
    {
        var length = 512 * random.Next(1, 30);
        var offset = random.Next((Length - length) / 512) * 512;
        if (random.Next(5) == 0)
        {
            offset &= -Megabyte;
            length = Math.Min(Megabyte, Length - offset);
        }

        var start = files.Events;
        switch (random.Next(10))
        {
            case < 6:
                var data = DiskContent.Random(length, random.Next());
                var durable = random.Next(4) == 0;
                disk.Write(offset, BufferSlice.Of(data), durable);
                history.Wrote(start, offset, data, durable ? files.Events : int.MaxValue);
                break;
            case < 8:
                disk.Zero(offset, length);
                history.Wrote(start, offset, new byte[length], durable: int.MaxValue);
                break;
            default:
                disk.Flush();
                history.Flushed(files.Events);
                break;
        }
    }

    private static void AssertSound(CrashFileSystem files, string path, string point)
    {
        var report = DiskCheck.Run(path, options: new DiskOpenOptions { FileSystem = files });
        Assert.True(report.Problems.Count == 0, point + ": " + string.Join("; ", report.Problems));
    }

    private static VirtualDisk Open(CrashFileSystem files, string path, bool readOnly = false) =>
        DiskFactory.Open(path, new DiskOpenOptions { FileSystem = files, ReadOnly = readOnly });

    private static void Create(CrashFileSystem files, DiskFormat format, string path, string? parent) =>
        DiskFactory.Create(path, new DiskCreateOptions
        {
            Format = format,
            Kind = parent is null ? DiskKind.Dynamic : DiskKind.Differencing,
            Length = parent is null ? Length : 0,
            BlockSize = Megabyte,
            ParentPath = parent,
            FileSystem = files,
        });

    private static void Scribble(VirtualDisk disk, byte[] content, int seed)
    {
        var random = new Random(seed);
        for (var i = 0; i < 6; i++)
        {
            var length = random.Next(1, 300) * 512;
            var offset = random.Next((Length - Megabyte - length) / 512) * 512;
            var data = DiskContent.Random(length, (seed * 100) + i);
            disk.Put(offset, data);
            data.CopyTo(content, offset);
        }
    }

    /// <summary>What a disk may hold after a crash at any moment of its life.</summary>
    private sealed class History
    {
        private readonly List<(int Start, int Offset, byte[] Data, int Durable)> _writes = [];
        private readonly List<(int End, int Writes, byte[] Content)> _flushes = [];
        private readonly byte[] _now;

        internal History(byte[] content)
        {
            _now = content;
            _flushes.Add((0, 0, (byte[])content.Clone()));
        }

        /// <summary>A write that began after <paramref name="start"/> events and is by itself durable after <paramref name="durable"/>.</summary>
        internal void Wrote(int start, int offset, byte[] data, int durable)
        {
            _writes.Add((start, offset, data, durable));
            data.CopyTo(_now, offset);
        }

        internal void Flushed(int end) => _flushes.Add((end, _writes.Count, (byte[])_now.Clone()));

        internal void AssertAllows(byte[] found, int events, string point)
        {
            var flush = _flushes.Last(item => item.End <= events);
            var later = _writes.Skip(flush.Writes).Where(write => write.Start < events).ToList();
            for (var offset = 0; offset < Length; offset += 512)
            {
                // Newest first, down to the one that is durable; below all of them what was flushed.
                var sector = found.AsSpan(offset, 512);
                var (allowed, covered) = (false, false);
                for (var i = later.Count - 1; i >= 0 && !allowed && !covered; i--)
                {
                    var (_, start, data, durable) = later[i];
                    if (offset >= start && offset < start + data.Length)
                    {
                        allowed = sector.SequenceEqual(data.AsSpan(offset - start, 512));
                        covered = durable <= events;
                    }
                }

                allowed |= !covered && sector.SequenceEqual(flush.Content.AsSpan(offset, 512));
                Assert.True(allowed, $"{point}: the sector at {offset} is neither what was flushed nor what was written since");
            }
        }
    }
}
