using Vitro.Storage;
using Xunit;

namespace Vitro.UnitTests.Storage;

public sealed class RawDiskTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task What_is_written_from_many_buffers_is_read_into_many_others()
    {
        await using var disk = DiskFactory.Open(NewFile(1 << 20));
        var data = Pattern(40 * 512, 1);
        var parts = Enumerable.Range(0, 40).Select(i => data.AsMemory(i * 512, 512)).ToArray();
        await disk.WriteAsync(4096, parts);

        var first = new byte[512 * 3];
        var second = new byte[512 * 37];
        await disk.ReadAsync(4096, new Memory<byte>[] { first, second });

        Assert.Equal(data, first.Concat(second).ToArray());
    }

    [Fact]
    public async Task A_disk_open_for_writing_is_not_opened_twice()
    {
        var path = NewFile(4096);
        await using var disk = DiskFactory.Open(path);

        var refusal = Assert.Throws<BlockIOException>(() => DiskFactory.Open(path));

        Assert.Contains("in use", refusal.Message, StringComparison.Ordinal);
        Assert.Throws<BlockIOException>(() => DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true }));
    }

    [Fact]
    public async Task Readers_share_and_keep_a_writer_out()
    {
        var path = NewFile(4096);
        var readOnly = new DiskOpenOptions { ReadOnly = true };
        await using var one = DiskFactory.Open(path, readOnly);
        await using var two = DiskFactory.Open(path, readOnly);

        Assert.Throws<BlockIOException>(() => DiskFactory.Open(path));
    }

    [Fact]
    public async Task A_zeroed_range_reads_as_zero_and_its_neighbours_stay()
    {
        await using var disk = DiskFactory.Open(NewFile(1 << 20));
        await disk.WriteAsync(0, new Memory<byte>[] { Pattern(1 << 20, 2) });
        await disk.ZeroAsync(512, 3 * 512);

        var expected = Pattern(1 << 20, 2);
        expected.AsSpan(512, 3 * 512).Clear();
        var read = new byte[1 << 20];
        await disk.ReadAsync(0, new Memory<byte>[] { read });
        Assert.Equal(expected, read);
    }

    [Theory]
    [InlineData(0, 4097)]
    [InlineData(4096, 512)]
    [InlineData(-512, 512)]
    [InlineData(100, 512)]
    public async Task A_request_outside_or_across_sectors_is_refused(long offset, int length)
    {
        await using var disk = DiskFactory.Open(NewFile(4096));

        await Assert.ThrowsAsync<BlockIOException>(async () => await disk.ReadAsync(offset, new Memory<byte>[] { new byte[length] }));
    }

    [Fact]
    public async Task A_read_only_disk_refuses_writes()
    {
        await using var disk = DiskFactory.Open(NewFile(4096), new DiskOpenOptions { ReadOnly = true });

        await Assert.ThrowsAsync<BlockIOException>(async () => await disk.WriteAsync(0, new Memory<byte>[] { new byte[512] }));
    }

    [Fact]
    public async Task A_missing_file_is_named()
    {
        var error = Assert.Throws<BlockIOException>(() => DiskFactory.Open("/nonexistent/disk.raw"));

        Assert.Contains("/nonexistent/disk.raw", error.Message, StringComparison.Ordinal);
        await Task.CompletedTask;
    }

    [Fact]
    public async Task Durable_writes_trims_and_flushes_complete()
    {
        await using var disk = DiskFactory.Open(NewFile(1 << 20));
        await disk.WriteAsync(0, new Memory<byte>[] { Pattern(512, 3) }, forceUnitAccess: true);
        await disk.TrimAsync(4096, 8192);
        await disk.FlushAsync();

        var read = new byte[512];
        await disk.ReadAsync(0, new Memory<byte>[] { read });
        Assert.Equal(Pattern(512, 3), read);
    }

    private static byte[] Pattern(int length, int seed)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    private string NewFile(long length)
    {
        var path = _folder.File("disk.raw");
        using var file = File.Create(path);
        file.SetLength(length);
        return path;
    }
}
