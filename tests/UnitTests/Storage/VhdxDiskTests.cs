using Vitro.Storage;
using Vitro.UnitTests.Storage.Exchange;
using Xunit;

namespace Vitro.UnitTests.Storage;

public sealed class VhdxDiskTests : IDisposable
{
    private const int Megabyte = 1 << 20;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<DiskKind, int, int, int> Shapes()
    {
        var shapes = new TheoryData<DiskKind, int, int, int>();
        foreach (var kind in new[] { DiskKind.Fixed, DiskKind.Dynamic })
        {
            shapes.Add(kind, 1, 512, 512);
            shapes.Add(kind, 2, 512, 4096);
            shapes.Add(kind, 32, 4096, 4096);
            shapes.Add(kind, 256, 512, 4096);
        }

        return shapes;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void What_is_written_is_there_after_reopening_and_other_tools_agree(DiskKind kind, int blockMegabytes, int logical, int physical)
    {
        var path = _folder.File("disk.vhdx");
        DiskFactory.Create(path, new DiskCreateOptions
        {
            Kind = kind,
            Length = (40 * Megabyte) + logical,
            BlockSize = blockMegabytes * Megabyte,
            LogicalSectorSize = logical,
            PhysicalSectorSize = physical,
            Sparse = true,
        });
        var expected = new byte[(40 * Megabyte) + logical];
        var disk = DiskFactory.Open(path);
        var data = DiskContent.Random(3 * Megabyte, 1);
        foreach (var offset in new[] { 0, (5 * Megabyte) - logical, (37 * Megabyte) + logical })
        {
            disk.Put(offset, data);
            data.CopyTo(expected, offset);
        }

        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();

        disk = DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });
        Assert.Equal((logical, physical, kind), (disk.LogicalSectorSize, disk.PhysicalSectorSize, disk.Kind));
        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();

        if (logical == 512)
        {
            // qemu-img reads no VHDX of 4096-byte sectors.
            ForeignTool.Run("qemu-img", "check", "-f", "vhdx", path);
            ForeignTool.Run("qemu-img", "convert", "-f", "vhdx", "-O", "raw", path, _folder.File("raw"));
            Assert.True(expected.AsSpan().SequenceEqual(File.ReadAllBytes(_folder.File("raw"))));
        }
        else
        {
            AssertLibvhdiReads(path, 1, expected);
        }
    }

    [Fact]
    public void A_sector_bitmap_nobody_needs_goes_with_compacting()
    {
        DiskFactory.Create(_folder.File("base.vhdx"), new DiskCreateOptions { Length = 16 * Megabyte });
        DiskFactory.Create(_folder.File("child.vhdx"), new DiskCreateOptions { Kind = DiskKind.Differencing, ParentPath = _folder.File("base.vhdx") });
        var empty = new FileInfo(_folder.File("child.vhdx")).Length;
        var disk = DiskFactory.Open(_folder.File("child.vhdx"));
        disk.Put(4096, DiskContent.Random(512, 1));
        disk.Zero(0, 2 * Megabyte);
        disk.Put(4 * Megabyte, DiskContent.Random(2 * Megabyte, 2));
        disk.Close();

        DiskCompaction.Compact(_folder.File("child.vhdx"));

        Assert.Equal(empty + (2 * Megabyte), new FileInfo(_folder.File("child.vhdx")).Length);
        Assert.True(DiskCheck.Run(_folder.File("child.vhdx")).IsSound);
        disk = DiskFactory.Open(_folder.File("child.vhdx"));
        Assert.Equal(DiskContent.Random(2 * Megabyte, 2), disk.Get(4 * Megabyte, 2 * Megabyte));
        disk.Put(512, DiskContent.Random(512, 3)); // and comes back with need
        disk.Close();
        disk = DiskFactory.Open(_folder.File("child.vhdx"), new DiskOpenOptions { ReadOnly = true });
        Assert.Equal(DiskContent.Random(512, 3), disk.Get(512, 512));
        Assert.Equal(new byte[8192], disk.Get(1024, 8192));
        disk.Close();
    }

    [Fact]
    public void A_disk_that_qemu_made_is_read_and_written()
    {
        var path = _folder.File("disk.vhdx");
        File.WriteAllBytes(_folder.File("raw"), DiskContent.Random(8 * Megabyte, 5));
        ForeignTool.Run("qemu-img", "convert", "-f", "raw", "-O", "vhdx", _folder.File("raw"), path);
        var disk = DiskFactory.Open(path);

        Assert.True(DiskContent.Random(8 * Megabyte, 5).AsSpan().SequenceEqual(disk.GetAll()));
        disk.Put(Megabyte, DiskContent.Random(4096, 6));
        disk.Close();

        ForeignTool.Run("qemu-img", "check", "-f", "vhdx", path);
    }

    [Fact]
    public void Trimmed_and_zeroed_blocks_read_as_zero_and_their_space_is_used_again()
    {
        var path = _folder.File("disk.vhdx");
        DiskFactory.Create(path, new DiskCreateOptions { Length = 64 * Megabyte, BlockSize = Megabyte });
        var disk = DiskFactory.Open(path);
        disk.Put(0, DiskContent.Random(8 * Megabyte, 1));
        disk.Flush();
        var length = new FileInfo(path).Length;
        disk.Trim(0, 4 * Megabyte);
        disk.Zero(4 * Megabyte, 3 * Megabyte);
        disk.Zero((7 * Megabyte) + 512, 1024);
        for (var i = 0; i < 3; i++)
        {
            disk.Flush();
        }

        disk.Put(32 * Megabyte, DiskContent.Random(5 * Megabyte, 2));
        disk.Close();

        Assert.Equal(length, new FileInfo(path).Length);
        disk = DiskFactory.Open(path);
        var expected = new byte[64 * Megabyte];
        DiskContent.Random(8 * Megabyte, 1).AsSpan(7 * Megabyte).CopyTo(expected.AsSpan(7 * Megabyte));
        expected.AsSpan((7 * Megabyte) + 512, 1024).Clear();
        DiskContent.Random(5 * Megabyte, 2).CopyTo(expected, 32 * Megabyte);
        Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();
        ForeignTool.Run("qemu-img", "check", "-f", "vhdx", path);
    }

    [Fact]
    public void A_chain_shows_the_nearest_written_sector()
    {
        var expected = new byte[16 * Megabyte];
        var names = new[] { "base.vhdx", "child.vhdx", "grandchild.vhdx" };
        for (var level = 0; level < names.Length; level++)
        {
            DiskFactory.Create(_folder.File(names[level]), new DiskCreateOptions
            {
                Length = level == 0 ? 16 * Megabyte : 0,
                Kind = level == 0 ? DiskKind.Dynamic : DiskKind.Differencing,
                ParentPath = level == 0 ? null : _folder.File(names[level - 1]),
            });
            var disk = DiskFactory.Open(_folder.File(names[level]));
            for (var i = 0; i < 50; i++)
            {
                var data = DiskContent.Random(512 * (1 + (i % 9)), (level * 100) + i);
                var offset = ((i * 7919) + level) % 32000 * 512 % (15 * Megabyte);
                disk.Put(offset, data);
                data.CopyTo(expected, offset);
            }

            disk.Put(12 * Megabyte, DiskContent.Random(2 * Megabyte, level));
            DiskContent.Random(2 * Megabyte, level).CopyTo(expected, 12 * Megabyte);
            Assert.True(expected.AsSpan().SequenceEqual(disk.GetAll()));
            disk.Close();
        }

        var top = DiskFactory.Open(_folder.File(names[^1]), new DiskOpenOptions { ReadOnly = true });
        Assert.True(expected.AsSpan().SequenceEqual(top.GetAll()));
        top.Close();
    }

    [Fact]
    public void A_parent_that_was_written_to_is_refused_unless_forced()
    {
        var child = CreatePair();
        var parent = DiskFactory.Open(_folder.File("base.vhdx"));
        parent.Put(0, DiskContent.Random(512, 1));
        parent.Close();

        var refusal = Assert.Throws<BlockIOException>(() => DiskFactory.Open(child));
        Assert.Contains("content has changed", refusal.Message, StringComparison.Ordinal);
        DiskFactory.Open(child, new DiskOpenOptions { IgnoreParentIdentity = true }).Close();
    }

    [Fact]
    public void A_parent_in_use_as_a_parent_cannot_be_written()
    {
        var disk = DiskFactory.Open(CreatePair());

        Assert.Throws<BlockIOException>(() => DiskFactory.Open(_folder.File("base.vhdx")));
        disk.Close();
        DiskFactory.Open(_folder.File("base.vhdx")).Close();
    }

    [Fact]
    public void A_chain_moved_to_another_folder_is_found_by_its_relative_path()
    {
        CreatePair();
        var moved = Directory.CreateDirectory(_folder.File("elsewhere")).FullName;
        File.Move(_folder.File("base.vhdx"), Path.Combine(moved, "base.vhdx"));
        File.Move(_folder.File("child.vhdx"), Path.Combine(moved, "child.vhdx"));

        var disk = DiskFactory.Open(Path.Combine(moved, "child.vhdx"));

        Assert.Equal(Path.Combine(moved, "base.vhdx"), disk.Parent!.Path);
        disk.Close();
    }

    [Theory]
    [InlineData(DiskFormat.Vhd)]
    [InlineData(DiskFormat.Vhdx)]
    public void Another_reader_sees_the_same_chain(DiskFormat format)
    {
        var expected = new byte[16 * Megabyte];
        foreach (var (name, parent) in new[] { ("base", (string?)null), ("child", "base") })
        {
            DiskFactory.Create(_folder.File(name), new DiskCreateOptions
            {
                Format = format,
                Length = parent is null ? expected.Length : 0,
                Kind = parent is null ? DiskKind.Dynamic : DiskKind.Differencing,
                ParentPath = parent is null ? null : _folder.File(parent),
            });
            var disk = DiskFactory.Open(_folder.File(name));
            for (var i = 0; i < 20; i++)
            {
                var data = DiskContent.Random(512 * (i + 1), name.Length + i);
                var offset = ((i * 9973) + name.Length) % 30_000 * 512;
                disk.Put(offset, data);
                data.CopyTo(expected, offset);
            }

            disk.Close();
        }

        AssertLibvhdiReads(_folder.File("child"), 2, expected);
    }

    [Fact]
    public void The_largest_disk_opens_with_little_memory()
    {
        var path = _folder.File("disk.vhdx");
        DiskFactory.Create(path, new DiskCreateOptions { Length = 64L << 40 });
        var before = GC.GetAllocatedBytesForCurrentThread();
        var disk = DiskFactory.Open(path);
        disk.Put((64L << 40) - 512, DiskContent.Random(512, 1));
        Assert.Equal(DiskContent.Random(512, 1), disk.Get((64L << 40) - 512, 512));

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 4 * Megabyte);
        disk.Close();
    }

    [Fact]
    public async Task A_request_on_allocated_blocks_allocates_no_memory()
    {
        var path = _folder.File("disk.vhdx");
        DiskFactory.Create(path, new DiskCreateOptions { Length = 64 * Megabyte });
        await using var disk = DiskFactory.Open(path);
        var buffers = new Memory<byte>[] { new byte[4096], new byte[4096] };
        long before = 0;
        for (var i = 0; i < 200; i++)
        {
            if (i == 100)
            {
                before = GC.GetAllocatedBytesForCurrentThread();
            }

            disk.Write(i * 8192, new Vitro.Storage.Files.BufferSlice(buffers, 0, 8192), durable: false);
            disk.Read(i * 8192, new Vitro.Storage.Files.BufferSlice(buffers, 0, 8192), cachedOnly: false);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private string CreatePair()
    {
        DiskFactory.Create(_folder.File("base.vhdx"), new DiskCreateOptions { Length = 16 * Megabyte });
        var child = _folder.File("child.vhdx");
        DiskFactory.Create(child, new DiskCreateOptions { Kind = DiskKind.Differencing, ParentPath = _folder.File("base.vhdx") });
        return child;
    }

    private void AssertLibvhdiReads(string path, int layers, byte[] expected)
    {
        using var mounted = new LibvhdiMount(path, _folder.File("mount"), layers);
        Assert.True(expected.AsSpan().SequenceEqual(File.ReadAllBytes(mounted.Disk)));
    }
}
