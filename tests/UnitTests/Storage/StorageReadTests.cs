using Vitro.Storage;
using Vitro.Storage.Disks;
using Vitro.Storage.Files;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Reads that wait for the storage, begun as if nothing were cached.</summary>
public sealed class StorageReadTests : IDisposable
{
    private const int Megabyte = 1 << 20;
    private const int Length = (4 * Megabyte) + 4096;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(DiskFormat.Vhdx, DiskKind.Dynamic)]
    [InlineData(DiskFormat.Vhdx, DiskKind.Differencing)]
    [InlineData(DiskFormat.Vhd, DiskKind.Differencing)]
    [InlineData(DiskFormat.Raw, DiskKind.Fixed)]
    public async Task Many_at_once_bring_what_the_disk_holds(DiskFormat format, DiskKind kind)
    {
        var (disk, content) = MakeDisk(format, kind);
        var random = new Random(1);
        for (var round = 0; round < 4; round++)
        {
            var reads = Enumerable.Range(0, 200).Select(_ =>
            {
                var length = 512 * random.Next(1, 64);
                var offset = random.Next((Length - length) / 512) * 512;
                var buffer = new byte[length];
                buffer.AsSpan().Fill(0xA5);
                return (Offset: offset, Buffer: buffer, Task: BlockRequest.StartRead(disk, offset, BufferSlice.Of(buffer)).AsTask());
            }).ToList();
            foreach (var (offset, buffer, task) in reads)
            {
                await task;
                Assert.True(content.AsSpan(offset, buffer.Length).SequenceEqual(buffer), $"{buffer.Length} bytes at {offset}");
            }
        }

        disk.Close();
    }

    [Fact]
    public async Task A_reader_that_blocks_for_another_read_gets_it()
    {
        var (disk, content) = MakeDisk(DiskFormat.Vhdx, DiskKind.Dynamic);
        await BlockRequest.StartRead(disk, 0, BufferSlice.Of(new byte[512])); // so that there is a ring, if there can be one
        var nested = Enumerable.Range(0, 8).Select(async i =>
        {
            await BlockRequest.StartRead(disk, i * 4096, BufferSlice.Of(new byte[512])).ConfigureAwait(false);
            var buffer = new byte[512];
            BlockRequest.StartRead(disk, Megabyte + (i * 4096), BufferSlice.Of(buffer)).AsTask().GetAwaiter().GetResult();
            return content.AsSpan(Megabyte + (i * 4096), 512).SequenceEqual(buffer);
        }).ToList();

        Assert.All(await Task.WhenAll(nested), Assert.True);
        disk.Close();
    }

    [Fact]
    public async Task A_block_that_moves_while_it_is_read_is_read_whole()
    {
        var (disk, _) = MakeDisk(DiskFormat.Vhdx, DiskKind.Dynamic);
        var one = DiskContent.Random(4096, 5);
        disk.Put(0, one);
        disk.Flush();
        for (var i = 0; i < 200; i++)
        {
            var buffer = new byte[4096];
            var read = BlockRequest.StartRead(disk, 0, BufferSlice.Of(buffer)).AsTask();
            disk.Zero(0, Megabyte); // gives the block back,
            disk.Flush();
            disk.Put(2 * Megabyte, DiskContent.Random(4096, i)); // where another may take it
            disk.Flush();
            await read;
            Assert.True(buffer.AsSpan().SequenceEqual(one) || !buffer.AsSpan().ContainsAnyExcept((byte)0), $"round {i}");
            disk.Zero(2 * Megabyte, Megabyte);
            disk.Put(0, one);
        }

        disk.Close();
    }

    private (VirtualDisk Disk, byte[] Content) MakeDisk(DiskFormat format, DiskKind kind)
    {
        var content = new byte[Length];
        var options = new DiskCreateOptions { Format = format, Length = Length, BlockSize = format == DiskFormat.Raw ? 0 : Megabyte, Sparse = true };
        DiskFactory.Create(_folder.File("base"), options with { Kind = kind == DiskKind.Differencing ? DiskKind.Dynamic : kind });
        var disk = DiskFactory.Open(_folder.File("base"));
        Put(0, 3 * Megabyte, 1);
        if (kind == DiskKind.Differencing)
        {
            disk.Close();
            DiskFactory.Create(_folder.File("child"), options with { Kind = kind, ParentPath = _folder.File("base") });
            disk = DiskFactory.Open(_folder.File("child"));
            Put(Megabyte / 2, Megabyte, 2);
            Put(3 * Megabyte, 8192, 3);
        }

        return (disk, content);

        void Put(int offset, int length, int seed)
        {
            var data = DiskContent.Random(length, seed);
            disk.Put(offset, data);
            data.CopyTo(content, offset);
        }
    }
}
