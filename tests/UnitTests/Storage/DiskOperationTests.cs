using Vitro.Platform;
using Vitro.Storage;
using Xunit;

namespace Vitro.UnitTests.Storage;

public sealed class DiskOperationTests : IDisposable
{
    private const int Megabyte = 1 << 20;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<DiskFormat, DiskKind, DiskFormat, DiskKind> Conversions()
    {
        var shapes = new[]
        {
            (DiskFormat.Raw, DiskKind.Fixed), (DiskFormat.Vhd, DiskKind.Fixed), (DiskFormat.Vhd, DiskKind.Dynamic),
            (DiskFormat.Vhdx, DiskKind.Fixed), (DiskFormat.Vhdx, DiskKind.Dynamic),
        };
        var data = new TheoryData<DiskFormat, DiskKind, DiskFormat, DiskKind>();
        foreach (var (fromFormat, fromKind) in shapes)
        {
            foreach (var (toFormat, toKind) in shapes)
            {
                data.Add(fromFormat, fromKind, toFormat, toKind);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Conversions))]
    public void Converting_keeps_the_content(DiskFormat fromFormat, DiskKind fromKind, DiskFormat toFormat, DiskKind toKind)
    {
        var expected = Make("from", fromFormat, fromKind, 9 * Megabyte);

        DiskConversion.Convert(_folder.File("from"), _folder.File("to"), new DiskCreateOptions { Format = toFormat, Kind = toKind, Sparse = true });

        AssertHolds("to", expected);
        var disk = DiskFactory.Open(_folder.File("to"));
        Assert.Equal((toFormat, toKind), (disk.Format, disk.Kind));
        disk.Close();
        ForeignTool.Run("qemu-img", "compare", "-f", Name(fromFormat), "-F", Name(toFormat), _folder.File("from"), _folder.File("to"));
    }

    [Fact]
    public void A_cancelled_conversion_leaves_nothing()
    {
        Make("from", DiskFormat.Raw, DiskKind.Fixed, 9 * Megabyte);
        using var cancellation = new CancellationTokenSource();
        var progress = new Callback(_ => cancellation.Cancel());

        Assert.Throws<OperationCanceledException>(() => DiskConversion.Convert(
            _folder.File("from"), _folder.File("to"), new DiskCreateOptions(), progress: progress, cancellation: cancellation.Token));

        Assert.Equal([_folder.File("from")], Directory.GetFiles(_folder.Root));
    }

    [Theory]
    [InlineData(DiskFormat.Vhd, DiskKind.Dynamic)]
    [InlineData(DiskFormat.Vhd, DiskKind.Fixed)]
    [InlineData(DiskFormat.Vhdx, DiskKind.Dynamic)]
    [InlineData(DiskFormat.Vhdx, DiskKind.Fixed)]
    [InlineData(DiskFormat.Raw, DiskKind.Fixed)]
    public void A_disk_grows_with_zeroes_and_shrinks_to_its_content(DiskFormat format, DiskKind kind)
    {
        var content = Make("disk", format, kind, 9 * Megabyte);
        DiskResize.Resize(_folder.File("disk"), 33 * Megabyte);
        AssertHolds("disk", [.. content, .. new byte[24 * Megabyte]]);

        Assert.Throws<BlockIOException>(() => DiskResize.Resize(_folder.File("disk"), Megabyte));
        DiskResize.Resize(_folder.File("disk"), 0);

        var disk = DiskFactory.Open(_folder.File("disk"));
        Assert.InRange(disk.Length, (8 * Megabyte) + 512, 10 * Megabyte);
        disk.Close();
        DiskResize.Resize(_folder.File("disk"), 12 * Megabyte);
        AssertHolds("disk", [.. content, .. new byte[3 * Megabyte]]);
    }

    [Fact]
    public void A_table_too_small_for_the_new_size_moves()
    {
        var content = Make("disk", DiskFormat.Vhdx, DiskKind.Dynamic, 9 * Megabyte);
        DiskResize.Resize(_folder.File("disk"), 16L << 40);

        var disk = DiskFactory.Open(_folder.File("disk"));
        Assert.True(content.AsSpan().SequenceEqual(disk.Get(0, content.Length)));
        disk.Put((16L << 40) - 512, DiskContent.Random(512, 1));
        disk.Close();
        Assert.True(DiskCheck.Run(_folder.File("disk")).IsSound);
    }

    [Fact]
    public void Shrinking_never_cuts_a_partition()
    {
        Make("disk", DiskFormat.Vhdx, DiskKind.Dynamic, 9 * Megabyte);
        var disk = DiskFactory.Open(_folder.File("disk"));
        var mbr = new byte[512];
        mbr[510] = 0x55;
        mbr[511] = 0xAA;
        mbr[446 + 4] = 0x83;
        BitConverter.TryWriteBytes(mbr.AsSpan(446 + 8), 2048);
        BitConverter.TryWriteBytes(mbr.AsSpan(446 + 12), 4096);
        disk.Put(0, mbr);
        disk.Close();

        Assert.Throws<BlockIOException>(() => DiskResize.Resize(_folder.File("disk"), (3 * Megabyte) - 512));
        DiskResize.Resize(_folder.File("disk"), 0);

        Assert.Equal(3 * Megabyte, DiskInfo.Of(_folder.File("disk")).Length);
    }

    [Theory]
    [InlineData(DiskFormat.Vhd)]
    [InlineData(DiskFormat.Vhdx)]
    public void Compacting_gives_zero_and_trimmed_blocks_back(DiskFormat format)
    {
        var expected = Make("disk", format, DiskKind.Dynamic, 40 * Megabyte);
        var disk = DiskFactory.Open(_folder.File("disk"));
        disk.Put(10 * Megabyte, DiskContent.Random(20 * Megabyte, 5));
        DiskContent.Random(20 * Megabyte, 5).CopyTo(expected, 10 * Megabyte);
        disk.Put(0, new byte[6 * Megabyte]);
        expected.AsSpan(0, 6 * Megabyte).Clear();
        disk.Trim(12 * Megabyte, 8 * Megabyte);
        disk.Zero(12 * Megabyte, 8 * Megabyte);
        expected.AsSpan(12 * Megabyte, 8 * Megabyte).Clear();
        disk.Close();
        var before = new FileInfo(_folder.File("disk")).Length;

        var gained = DiskCompaction.Compact(_folder.File("disk"));

        Assert.InRange(gained, 12 * Megabyte, 16 * Megabyte);
        Assert.Equal(before - gained, new FileInfo(_folder.File("disk")).Length);
        AssertHolds("disk", expected);
        Assert.Equal(0, DiskCheck.Run(_folder.File("disk")).UnusedBytes);
    }

    [Theory]
    [InlineData(DiskFormat.Vhd, 1)]
    [InlineData(DiskFormat.Vhd, 2)]
    [InlineData(DiskFormat.Vhdx, 1)]
    [InlineData(DiskFormat.Vhdx, 2)]
    public void Merging_moves_the_childs_content_down(DiskFormat format, int levels)
    {
        var expected = Make("level0", format, DiskKind.Dynamic, 9 * Megabyte);
        for (var level = 1; level <= levels; level++)
        {
            MakeChild($"level{level}", $"level{level - 1}", format);
            Scribble($"level{level}", expected, level);
        }

        DiskMerge.Merge(_folder.File($"level{levels}"), _folder.File("level0"));

        AssertHolds("level0", expected);
        Assert.Equal([_folder.File("level0")], Directory.GetFiles(_folder.Root));
    }

    [Fact]
    public void After_a_merge_the_childs_children_accept_the_ancestor()
    {
        var expected = Make("base", DiskFormat.Vhdx, DiskKind.Dynamic, 9 * Megabyte);
        MakeChild("child", "base", DiskFormat.Vhdx);
        Scribble("child", expected, 1);
        MakeChild("grandchild", "child", DiskFormat.Vhdx);
        Scribble("grandchild", expected, 2);

        DiskMerge.Merge(_folder.File("child"));
        DiskIdentity.SetParent(_folder.File("grandchild"), _folder.File("base"));

        AssertHolds("grandchild", expected);
    }

    [Theory]
    [InlineData(DiskFormat.Vhd)]
    [InlineData(DiskFormat.Vhdx)]
    public void A_child_is_told_where_its_parent_has_gone(DiskFormat format)
    {
        var expected = Make("base", format, DiskKind.Dynamic, 9 * Megabyte);
        MakeChild("child", "base", format);
        Scribble("child", expected, 1);
        var folder = Directory.CreateDirectory(_folder.File("a folder with a longer name than before")).FullName;
        File.Move(_folder.File("base"), Path.Combine(folder, "renamed"));
        Assert.Throws<BlockIOException>(() => DiskFactory.Open(_folder.File("child")));

        DiskIdentity.SetParent(_folder.File("child"), Path.Combine(folder, "renamed"));

        AssertHolds("child", expected);
    }

    [Theory]
    [InlineData(DiskFormat.Vhd)]
    [InlineData(DiskFormat.Vhdx)]
    public void A_wrong_parent_needs_force(DiskFormat format)
    {
        Make("base", format, DiskKind.Dynamic, 9 * Megabyte);
        MakeChild("child", "base", format);
        Make("other", format, DiskKind.Dynamic, 9 * Megabyte);

        Assert.Throws<BlockIOException>(() => DiskIdentity.SetParent(_folder.File("child"), _folder.File("other")));
        DiskIdentity.SetParent(_folder.File("child"), _folder.File("other"), force: true);

        Assert.Equal(_folder.File("other"), DiskInfo.Of(_folder.File("child")).Parents[0]);
    }

    [Theory]
    [InlineData(DiskFormat.Vhdx)]
    [InlineData(DiskFormat.Vhd)]
    public void Space_given_back_in_one_session_is_used_in_a_later_one(DiskFormat format)
    {
        DiskFactory.Create(_folder.File("disk"), new DiskCreateOptions { Format = format, Length = 64 * Megabyte, BlockSize = Megabyte });
        var disk = DiskFactory.Open(_folder.File("disk"));
        disk.Put(0, DiskContent.Random(8 * Megabyte, 1));
        disk.Trim(2 * Megabyte, 4 * Megabyte);
        disk.Close();
        var length = new FileInfo(_folder.File("disk")).Length;

        disk = DiskFactory.Open(_folder.File("disk"));
        disk.Put(32 * Megabyte, DiskContent.Random(3 * Megabyte, 2));
        disk.Put((40 * Megabyte) + 4096, DiskContent.Random(512, 3));
        disk.Close();

        Assert.Equal(length, new FileInfo(_folder.File("disk")).Length);
        Assert.True(DiskCheck.Run(_folder.File("disk")).IsSound);
        var expected = new byte[64 * Megabyte];
        DiskContent.Random(8 * Megabyte, 1).CopyTo(expected, 0);
        expected.AsSpan(2 * Megabyte, 4 * Megabyte).Clear();
        DiskContent.Random(3 * Megabyte, 2).CopyTo(expected, 32 * Megabyte);
        DiskContent.Random(512, 3).CopyTo(expected, (40 * Megabyte) + 4096);
        disk = DiskFactory.Open(_folder.File("disk"), new DiskOpenOptions { ReadOnly = true });
        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();
    }

    [Theory]
    [InlineData(DiskFormat.Raw, false)]
    [InlineData(DiskFormat.Raw, true)]
    [InlineData(DiskFormat.Vhd, false)]
    [InlineData(DiskFormat.Vhdx, false)]
    [InlineData(DiskFormat.Vhdx, true)]
    public void Zeroing_a_fixed_disk_keeps_its_space_and_a_sparse_one_gives_it_back(DiskFormat format, bool sparse)
    {
        DiskFactory.Create(_folder.File("disk"), new DiskCreateOptions
        {
            Format = format,
            Kind = DiskKind.Fixed,
            Length = 8 * Megabyte,
            BlockSize = format == DiskFormat.Raw ? 0 : Megabyte,
            Sparse = sparse,
        });
        var disk = DiskFactory.Open(_folder.File("disk"));
        disk.Put(Megabyte, DiskContent.Random(3 * Megabyte, 1));
        disk.Flush();
        disk.Zero(Megabyte, 2 * Megabyte);
        Assert.Equal(new byte[2 * Megabyte], disk.Get(Megabyte, 2 * Megabyte));
        disk.Close();

        using var file = HostFile.Open(_folder.File("disk"), HostFileMode.Read);
        Assert.Equal(!sparse, file.AllocatedLength >= 8 * Megabyte);
    }

    [Fact]
    public void Comparing_finds_the_first_byte_that_differs()
    {
        Make("one", DiskFormat.Vhdx, DiskKind.Dynamic, 9 * Megabyte);
        Make("two", DiskFormat.Vhd, DiskKind.Fixed, 9 * Megabyte);
        var one = DiskFactory.Open(_folder.File("one"));
        var two = DiskFactory.Open(_folder.File("two"));
        Assert.True(DiskComparison.Compare(one, two).IsNone);
        var sector = one.Get(5 * Megabyte, 512);
        sector[100] ^= 1;
        two.Put(5 * Megabyte, sector);

        Assert.Equal(new DiskDifference((5 * Megabyte) + 100, 1, LengthsDiffer: false), DiskComparison.Compare(one, two));
        one.Close();
        two.Close();
    }

    [Fact]
    public void A_map_says_which_layer_holds_what()
    {
        DiskFactory.Create(_folder.File("base"), new DiskCreateOptions { Length = 9 * Megabyte, BlockSize = Megabyte });
        var disk = DiskFactory.Open(_folder.File("base"));
        disk.Put(0, DiskContent.Random(Megabyte, 1));
        disk.Close();
        DiskFactory.Create(
            _folder.File("child"),
            new DiskCreateOptions { Kind = DiskKind.Differencing, ParentPath = _folder.File("base"), BlockSize = Megabyte });
        disk = DiskFactory.Open(_folder.File("child"));
        disk.Put(512, DiskContent.Random(512, 2));

        var map = DiskMap.Of(disk).ToArray();

        Assert.Equal(
            [
                new DiskRange(0, 512, IsData: true, 1), new DiskRange(512, 512, IsData: true, 0),
                new DiskRange(1024, Megabyte - 1024, IsData: true, 1), new DiskRange(Megabyte, 8 * Megabyte, IsData: false, 1),
            ],
            map);
        disk.Close();
    }

    [Fact]
    public void A_new_identity_differs()
    {
        foreach (var (format, kind) in new[] { (DiskFormat.Vhd, DiskKind.Fixed), (DiskFormat.Vhd, DiskKind.Dynamic), (DiskFormat.Vhdx, DiskKind.Dynamic) })
        {
            Make("disk", format, kind, 9 * Megabyte);
            var before = DiskInfo.Of(_folder.File("disk")).Identity;
            var identity = DiskIdentity.Renew(_folder.File("disk"));

            Assert.NotEqual(before, identity);
            Assert.Equal(identity, DiskInfo.Of(_folder.File("disk")).Identity);
            File.Delete(_folder.File("disk"));
        }
    }

    [Theory]
    [InlineData(DiskFormat.Vhdx, 64 << 10)]
    [InlineData(DiskFormat.Vhdx, 128 << 10)]
    [InlineData(DiskFormat.Vhdx, 192 << 10)]
    [InlineData(DiskFormat.Vhdx, 256 << 10)]
    [InlineData(DiskFormat.Vhd, 0)]
    public void One_damaged_copy_is_found_and_mended(DiskFormat format, int offset)
    {
        var expected = Make("disk", format, DiskKind.Dynamic, 9 * Megabyte);
        using (var file = File.OpenWrite(_folder.File("disk")))
        {
            file.Position = offset + 60;
            file.Write(DiskContent.Random(20, 1));
        }

        Assert.False(DiskCheck.Run(_folder.File("disk")).IsSound);
        Assert.True(DiskCheck.Run(_folder.File("disk"), repair: true).IsSound);

        Assert.Empty(DiskCheck.Run(_folder.File("disk")).Problems);
        AssertHolds("disk", expected);
    }

    private static string Name(DiskFormat format) => format switch
    {
        DiskFormat.Vhd => "vpc",
        DiskFormat.Vhdx => "vhdx",
        _ => "raw",
    };

    private byte[] Make(string name, DiskFormat format, DiskKind kind, int length)
    {
        DiskFactory.Create(_folder.File(name), new DiskCreateOptions
        {
            Format = format,
            Kind = kind,
            Length = length,
            BlockSize = format == DiskFormat.Raw ? 0 : Megabyte,
            Sparse = true,
        });
        var content = new byte[length];
        Scribble(name, content, 0);
        return content;
    }

    private void MakeChild(string name, string parent, DiskFormat format) => DiskFactory.Create(
        _folder.File(name), new DiskCreateOptions { Format = format, Kind = DiskKind.Differencing, ParentPath = _folder.File(parent), BlockSize = Megabyte });

    // In the first eight megabytes and one sector, and something in that sector.
    private void Scribble(string name, byte[] content, int seed)
    {
        var disk = DiskFactory.Open(_folder.File(name));
        var random = new Random(seed);
        for (var i = 0; i < 12; i++)
        {
            var length = random.Next(1, 900) * 512;
            var offset = i == 0 ? (8 * Megabyte) + 512 - length : random.Next(((8 * Megabyte) - length) / 512) * 512;
            var data = DiskContent.Random(length, (seed * 100) + i);
            disk.Put(offset, data);
            data.CopyTo(content, offset);
        }

        disk.Close();
    }

    private void AssertHolds(string name, byte[] expected)
    {
        var disk = DiskFactory.Open(_folder.File(name), new DiskOpenOptions { ReadOnly = true });
        Assert.Equal(expected.Length, disk.Length);
        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();
        var report = DiskCheck.Run(_folder.File(name));
        Assert.Empty(report.Problems);
    }

    private sealed class Callback(Action<DiskProgress> action) : IProgress<DiskProgress>
    {
        public void Report(DiskProgress value) => action(value);
    }
}
