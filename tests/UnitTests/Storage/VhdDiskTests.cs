using Vitro.Storage;
using Vitro.Storage.Vhd;
using Xunit;

namespace Vitro.UnitTests.Storage;

public sealed class VhdDiskTests : IDisposable
{
    private const int Megabyte = 1 << 20;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(DiskKind.Fixed, 0)]
    [InlineData(DiskKind.Dynamic, 2 * Megabyte)]
    [InlineData(DiskKind.Dynamic, 512 << 10)]
    public void What_is_written_is_there_after_reopening_and_other_tools_agree(DiskKind kind, int blockSize)
    {
        var path = _folder.File("disk.vhd");
        const int Length = (20 * Megabyte) + 1536;
        DiskFactory.Create(path, new DiskCreateOptions { Format = DiskFormat.Vhd, Kind = kind, Length = Length, BlockSize = blockSize });
        var expected = new byte[Length];
        var disk = DiskFactory.Open(path);
        foreach (var offset in new[] { 512, (7 * Megabyte) - 1024, Length - Megabyte })
        {
            disk.Put(offset, DiskContent.Random(Megabyte, offset));
            DiskContent.Random(Megabyte, offset).CopyTo(expected, offset);
        }

        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();

        disk = DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });
        Assert.Equal((DiskFormat.Vhd, kind), (disk.Format, disk.Kind));
        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();

        ForeignTool.Run("qemu-img", "convert", "-f", "vpc", "-O", "raw", path, _folder.File("raw"));
        Assert.True(expected.AsSpan().SequenceEqual(File.ReadAllBytes(_folder.File("raw"))));
        Assert.Contains("Virtual Hard Disk", ForeignTool.Run("vhdiinfo", path), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("subformat=dynamic")]
    [InlineData("subformat=fixed")]
    [InlineData("subformat=dynamic,force_size=on")]
    public void A_disk_that_qemu_made_is_read_and_written(string options)
    {
        var path = _folder.File("disk.vhd");
        var content = DiskContent.Random(9 * Megabyte, 5);
        File.WriteAllBytes(_folder.File("raw"), content);
        ForeignTool.Run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, _folder.File("raw"), path);
        var disk = DiskFactory.Open(path);

        Assert.InRange(disk.Length, content.Length, content.Length + Megabyte); // without force_size, qemu rounds up to whole cylinders
        Assert.True(content.AsSpan().SequenceEqual(disk.Get(0, content.Length)));
        disk.Put(Megabyte, DiskContent.Random(4096, 6));
        DiskContent.Random(4096, 6).CopyTo(content, Megabyte);
        disk.Close();

        ForeignTool.Run("qemu-img", "convert", "-f", "vpc", "-O", "raw", path, _folder.File("raw"));
        Assert.True(content.AsSpan().SequenceEqual(File.ReadAllBytes(_folder.File("raw")).AsSpan(0, content.Length)));
    }

    /// <summary>Which of the footer's two sizes a creator meant; 1,000 cylinders of 16 heads and 63 sectors, and a size field of a megabyte more.</summary>
    [Theory]
    [InlineData("vpc ", false)]
    [InlineData("vs  ", false)]
    [InlineData("qemu", false)]
    [InlineData("qem2", true)]
    [InlineData("win ", true)]
    [InlineData("vbox", true)]
    [InlineData("d2v ", true)]
    [InlineData("tap\0", true)]
    public void The_size_is_the_one_that_the_creator_meant(string creator, bool field)
    {
        const long geometry = 1000L * 16 * 63 * 512;
        var footer = new VhdFooter
        {
            DataOffset = VhdFooter.NoDataOffset,
            Creator = creator,
            CurrentSize = geometry + Megabyte,
            OriginalSize = geometry + Megabyte,
            Geometry = new VhdGeometry(1000, 16, 63),
            DiskType = VhdDiskType.Fixed,
            UniqueId = Guid.NewGuid(),
        };

        Assert.Equal(field ? geometry + Megabyte : geometry, footer.DiskSize);
    }

    [Fact]
    public void A_parent_that_was_written_to_later_shows_by_its_time()
    {
        var parent = _folder.File("parent.vhd");
        var child = _folder.File("child.vhd");
        DiskFactory.Create(parent, new DiskCreateOptions { Format = DiskFormat.Vhd, Length = 8 << 20 });
        DiskFactory.Create(child, new DiskCreateOptions { Format = DiskFormat.Vhd, Kind = DiskKind.Differencing, ParentPath = parent });
        Assert.False(DiskInfo.Of(child).ParentWrittenLater);

        File.SetLastWriteTimeUtc(parent, File.GetLastWriteTimeUtc(parent).AddMinutes(1));

        Assert.True(DiskInfo.Of(child).ParentWrittenLater);
        DiskIdentity.SetParent(child, parent);
        Assert.False(DiskInfo.Of(child).ParentWrittenLater);
    }

    [Fact]
    public void A_differencing_disk_shows_its_parent_where_it_has_nothing()
    {
        DiskFactory.Create(_folder.File("base.vhd"), new DiskCreateOptions { Format = DiskFormat.Vhd, Length = 8 * Megabyte });
        var disk = DiskFactory.Open(_folder.File("base.vhd"));
        var expected = DiskContent.Random(8 * Megabyte, 1);
        disk.Put(0, expected);
        disk.Close();
        DiskFactory.Create(
            _folder.File("child.vhd"),
            new DiskCreateOptions { Format = DiskFormat.Vhd, Kind = DiskKind.Differencing, ParentPath = _folder.File("base.vhd") });

        disk = DiskFactory.Open(_folder.File("child.vhd"));
        disk.Put(512, DiskContent.Random(512, 2));
        disk.Put(4 * Megabyte, DiskContent.Random(2 * Megabyte, 3));
        disk.Zero((2 * Megabyte) + 512, 4096);
        disk.Close();

        DiskContent.Random(512, 2).CopyTo(expected, 512);
        DiskContent.Random(2 * Megabyte, 3).CopyTo(expected, 4 * Megabyte);
        expected.AsSpan((2 * Megabyte) + 512, 4096).Clear();
        disk = DiskFactory.Open(_folder.File("child.vhd"), new DiskOpenOptions { ReadOnly = true });
        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();
    }

    [Fact]
    public void A_lost_footer_is_taken_from_its_copy_and_written_again()
    {
        var path = _folder.File("disk.vhd");
        DiskFactory.Create(path, new DiskCreateOptions { Format = DiskFormat.Vhd, Length = 8 * Megabyte });
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(file.Length - 512);
        }

        var disk = DiskFactory.Open(path);
        disk.Put(0, DiskContent.Random(512, 1));
        disk.Close();

        var content = File.ReadAllBytes(path);
        Assert.True(VhdFooter.IsPresent(content.AsSpan(content.Length - 512)));
    }

    [Theory]
    [InlineData(20_480, 301, 4, 17)]
    [InlineData(2_097_152, 2080, 16, 63)]
    [InlineData(268_435_456, 65535, 16, 255)]
    public void Geometry_is_what_Virtual_PC_computed(long sectors, int cylinders, int heads, int perTrack) =>
        Assert.Equal(new VhdGeometry(cylinders, heads, perTrack), VhdGeometry.For(sectors));
}
