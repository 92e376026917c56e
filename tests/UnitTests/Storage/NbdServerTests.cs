using System.Buffers.Binary;
using System.Net.Sockets;
using System.Security.Cryptography;
using Vitro.Storage;
using Vitro.Storage.Nbd;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Disks served over NBD to qemu's client and to one of our own that does what no decent client does.</summary>
public sealed class NbdServerTests : IDisposable
{
    private const int Megabyte = 1 << 20;
    private const int Length = 8 * Megabyte;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private string Uri => $"nbd+unix:///?socket={_folder.File("socket")}";

    [Theory]
    [InlineData(DiskFormat.Vhdx, 512)]
    [InlineData(DiskFormat.Vhdx, 4096)]
    [InlineData(DiskFormat.Vhd, 512)]
    [InlineData(DiskFormat.Raw, 512)]
    public async Task A_client_copies_what_the_disk_holds(DiskFormat format, int sectorSize)
    {
        var content = MakeDisk(format, sectorSize);
        await using var served = Serve(readOnly: true);

        _ = ForeignTool.Run("qemu-img", "convert", "-f", "raw", "-O", "raw", Uri, _folder.File("out"));

        Assert.Equal(SHA256.HashData(content), SHA256.HashData(File.ReadAllBytes(_folder.File("out"))));
    }

    [Theory]
    [InlineData(DiskFormat.Vhdx)]
    [InlineData(DiskFormat.Vhd)]
    public async Task What_a_client_writes_zeroes_and_discards_is_on_the_disk(DiskFormat format)
    {
        var content = MakeDisk(format, 512);
        await using (Serve(readOnly: false))
        {
            _ = ForeignTool.Run(
                "qemu-io", "-f", "raw", "-d", "unmap",
                "-c", "aio_write -P 0x5a 1M 3M", "-c", "aio_write -P 0x6b 4608 512", "-c", "aio_flush",
                "-c", "write -f -P 0x7c 5M 64k", "-c", "write -z 2M 1M", "-c", "discard 6M 1M", "-c", "flush",
                "-c", "read -P 0x5a 1M 1M", "-c", "read -P 0 2M 1M", "-c", "read -P 0x7c 5M 64k", Uri);
        }

        content.AsSpan(Megabyte, 3 * Megabyte).Fill(0x5A);
        content.AsSpan(4608, 512).Fill(0x6B);
        content.AsSpan(5 * Megabyte, 64 << 10).Fill(0x7C);
        content.AsSpan(2 * Megabyte, Megabyte).Clear();
        content.AsSpan(6 * Megabyte, Megabyte).Clear();
        var disk = DiskFactory.Open(_folder.File("disk"), new DiskOpenOptions { ReadOnly = true });
        Assert.Equal(SHA256.HashData(content), SHA256.HashData(disk.GetAll()));
        disk.Close();
        Assert.True(DiskCheck.Run(_folder.File("disk")).IsSound);
    }

    [Fact]
    public async Task A_partition_is_served_alone()
    {
        var content = MakeDisk(DiskFormat.Vhdx, 512);
        await using var served = Serve(readOnly: true, new DiskPartition(1, 2 * Megabyte, 3 * Megabyte, "83"));

        _ = ForeignTool.Run("qemu-img", "convert", "-f", "raw", "-O", "raw", Uri, _folder.File("out"));

        Assert.Equal(SHA256.HashData(content.AsSpan(2 * Megabyte, 3 * Megabyte)), SHA256.HashData(File.ReadAllBytes(_folder.File("out"))));
    }

    [Fact]
    public async Task Requests_in_flight_are_answered_each_with_its_own_data()
    {
        var content = MakeDisk(DiskFormat.Vhdx, 512);
        await using var served = Serve(readOnly: true);
        await using var stream = await ConnectAsync();
        const int count = 200;
        var sending = Task.Run(async () =>
        {
            for (var i = 0; i < count; i++)
            {
                await stream.WriteAsync(Request(NbdProtocol.CommandRead, (ulong)i, i * 8192L, 4096));
            }
        }, TestContext.Current.CancellationToken);
        var seen = new HashSet<ulong>();
        for (var i = 0; i < count; i++)
        {
            var (error, cookie) = await ReplyAsync(stream);
            Assert.Equal(0u, error);
            Assert.True(seen.Add(cookie));
            var data = new byte[4096];
            await stream.ReadExactlyAsync(data, TestContext.Current.CancellationToken);
            Assert.True(content.AsSpan((int)cookie * 8192, 4096).SequenceEqual(data), $"request {cookie}");
        }

        await sending;
    }

    [Fact]
    public async Task Requests_that_are_not_allowed_get_an_error_and_the_next_is_served()
    {
        _ = MakeDisk(DiskFormat.Vhdx, 512);
        await using var served = Serve(readOnly: true);
        await using var stream = await ConnectAsync();

        await stream.WriteAsync(Request(NbdProtocol.CommandRead, 1, Length - 512, 1024), TestContext.Current.CancellationToken);
        Assert.Equal((NbdProtocol.ErrorInvalid, 1ul), await ReplyAsync(stream));
        await stream.WriteAsync(Request(NbdProtocol.CommandRead, 2, -512, 512), TestContext.Current.CancellationToken);
        Assert.Equal((NbdProtocol.ErrorInvalid, 2ul), await ReplyAsync(stream));
        await stream.WriteAsync(Request(NbdProtocol.CommandTrim, 3, 0, 512), TestContext.Current.CancellationToken);
        Assert.Equal((NbdProtocol.ErrorPermission, 3ul), await ReplyAsync(stream));
        await stream.WriteAsync(Request(NbdProtocol.CommandRead, 4, 100, 512), TestContext.Current.CancellationToken);
        Assert.Equal((NbdProtocol.ErrorInvalid, 4ul), await ReplyAsync(stream));
        await stream.WriteAsync(Request(77, 5, 0, 0), TestContext.Current.CancellationToken);
        Assert.NotEqual(0u, (await ReplyAsync(stream)).Error);
        await stream.WriteAsync(Request(NbdProtocol.CommandFlush, 6, 0, 0), TestContext.Current.CancellationToken);
        Assert.Equal((0u, 6ul), await ReplyAsync(stream));

        // A length no buffer is made for ends the connection, and the server serves the next.
        await stream.WriteAsync(Request(NbdProtocol.CommandRead, 7, 0, uint.MaxValue), TestContext.Current.CancellationToken);
        Assert.Equal(0, await stream.ReadAsync(new byte[16], TestContext.Current.CancellationToken));
        await using var again = await ConnectAsync();
        await again.WriteAsync(Request(NbdProtocol.CommandFlush, 8, 0, 0), TestContext.Current.CancellationToken);
        Assert.Equal((0u, 8ul), await ReplyAsync(again));
    }

    private static byte[] Request(ushort command, ulong cookie, long offset, uint length)
    {
        var request = new byte[NbdProtocol.RequestSize];
        BinaryPrimitives.WriteUInt32BigEndian(request, NbdProtocol.RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(request.AsSpan(8), cookie);
        BinaryPrimitives.WriteInt64BigEndian(request.AsSpan(16), offset);
        BinaryPrimitives.WriteUInt32BigEndian(request.AsSpan(24), length);
        return request;
    }

    private static async Task<(uint Error, ulong Cookie)> ReplyAsync(Stream stream)
    {
        var reply = new byte[NbdProtocol.ReplySize];
        await stream.ReadExactlyAsync(reply, TestContext.Current.CancellationToken);
        Assert.Equal(NbdProtocol.ReplyMagic, BinaryPrimitives.ReadUInt32BigEndian(reply));
        return (BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4)), BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(8)));
    }

    /// <summary>Connects the way the oldest clients still known do: by an export's name.</summary>
    private async Task<NetworkStream> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(_folder.File("socket")), TestContext.Current.CancellationToken);
        var stream = new NetworkStream(socket, ownsSocket: true);
        await stream.ReadExactlyAsync(new byte[18], TestContext.Current.CancellationToken);
        var hello = new byte[4 + 16];
        BinaryPrimitives.WriteUInt32BigEndian(hello, NbdProtocol.FlagFixedNewStyle | NbdProtocol.FlagNoZeroes);
        BinaryPrimitives.WriteUInt64BigEndian(hello.AsSpan(4), NbdProtocol.OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(12), NbdProtocol.OptionExportName);
        await stream.WriteAsync(hello, TestContext.Current.CancellationToken);
        var export = new byte[10];
        await stream.ReadExactlyAsync(export, TestContext.Current.CancellationToken);
        Assert.Equal(Length, BinaryPrimitives.ReadInt64BigEndian(export));
        return stream;
    }

    private Served Serve(bool readOnly, DiskPartition? partition = null)
    {
        var disk = DiskFactory.Open(_folder.File("disk"), new DiskOpenOptions { ReadOnly = readOnly });
        return new Served(disk, new NbdServer(disk, _folder.File("socket"), partition));
    }

    private byte[] MakeDisk(DiskFormat format, int sectorSize)
    {
        DiskFactory.Create(_folder.File("disk"), new DiskCreateOptions
        {
            Format = format,
            Kind = format == DiskFormat.Raw ? DiskKind.Fixed : DiskKind.Dynamic,
            Length = Length,
            LogicalSectorSize = sectorSize,
            Sparse = true,
        });
        var content = new byte[Length];
        DiskContent.Random(6 * Megabyte, 1).CopyTo(content, Megabyte / 2);
        var disk = DiskFactory.Open(_folder.File("disk"));
        disk.Put(Megabyte / 2, content[(Megabyte / 2)..(Length - Megabyte)]);
        disk.Close();
        return content;
    }

    private sealed class Served : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly VirtualDisk _disk;
        private readonly NbdServer _server;
        private readonly Task _running;

        internal Served(VirtualDisk disk, NbdServer server)
        {
            _disk = disk;
            _server = server;
            _running = server.RunAsync(_stop.Token);
        }

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await _running;
            _server.Dispose();
            _stop.Dispose();
            await _disk.DisposeAsync();
        }
    }
}
