using System.Buffers.Binary;
using Vitro.Vsp.Storage;
using Vitro.Vsp.Storage.Scsi;
using Xunit;

namespace Vitro.UnitTests.Vsp.Storage;

public sealed class ScsiDiskTests
{
    private readonly byte[] _buffer = new byte[64 << 10];

    [Fact]
    public void Standard_inquiry_names_a_disk_that_guests_know()
    {
        var request = Run(new MemoryDisk(1 << 20), [0x12, 0, 0, 0, 96, 0], 96);

        Assert.Equal(0, _buffer[0]);
        Assert.Equal("Msft    Virtual Disk    1.0 "u8, _buffer.AsSpan(8, 28));
        Assert.Equal(_buffer[4] + 5, request.Transferred);
    }

    [Theory]
    [InlineData(0x00)]
    [InlineData(0x80)]
    [InlineData(0x83)]
    [InlineData(0xB0)]
    [InlineData(0xB1)]
    [InlineData(0xB2)]
    public void Every_listed_vital_product_data_page_exists_and_tells_its_own_length(byte page)
    {
        var request = Run(new MemoryDisk(1 << 20), [0x12, 1, page, 0, 255, 0], 255);

        Assert.Equal(SrbStatus.Success, request.SrbStatus);
        Assert.Equal(page, _buffer[1]);
        Assert.Equal(BinaryPrimitives.ReadUInt16BigEndian(_buffer.AsSpan(2)) + 4, request.Transferred);
    }

    [Fact]
    public void An_unknown_vital_product_data_page_is_an_invalid_field()
    {
        Assert.Equal(ScsiSense.InvalidFieldInCdb, Run(new MemoryDisk(1 << 20), [0x12, 1, 0xC0, 0, 255, 0], 255).Sense);
    }

    [Fact]
    public void The_identification_page_has_a_name_made_of_the_disks_identity()
    {
        Run(new MemoryDisk(1 << 20), [0x12, 1, 0x83, 0, 255, 0], 255);

        Assert.Equal(new byte[] { 0x60, 0x02, 0x24, 0x80 }, _buffer[8..12]);
        Assert.Equal(new byte[] { 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF }, _buffer[12..24]);
    }

    [Fact]
    public void Capacity_is_told_in_both_forms()
    {
        var disk = new MemoryDisk(1 << 20);
        Run(disk, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8);
        Assert.Equal(2047u, BinaryPrimitives.ReadUInt32BigEndian(_buffer));
        Assert.Equal(512u, BinaryPrimitives.ReadUInt32BigEndian(_buffer.AsSpan(4)));

        Run(disk, [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32);
        Assert.Equal(2047ul, BinaryPrimitives.ReadUInt64BigEndian(_buffer));
        Assert.Equal(3, _buffer[13]);
        Assert.Equal(0x80, _buffer[14]);
    }

    [Fact]
    public void A_disk_beyond_32_bits_of_sectors_tells_the_short_form_to_ask_the_long_one()
    {
        Run(new MemoryDisk(4096) { Length = 4L << 40 }, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8);

        Assert.Equal(uint.MaxValue, BinaryPrimitives.ReadUInt32BigEndian(_buffer));
    }

    [Theory]
    [InlineData(new byte[] { 0x08, 0, 0, 4, 2, 0 })]
    [InlineData(new byte[] { 0x28, 0, 0, 0, 0, 4, 0, 0, 2, 0 })]
    [InlineData(new byte[] { 0xA8, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0 })]
    [InlineData(new byte[] { 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0 })]
    public void Every_length_of_read_finds_the_same_sectors(byte[] cdb)
    {
        var disk = new MemoryDisk(1 << 20);
        disk.Content.AsSpan(2048, 1024).Fill(0xAB);

        var request = Run(disk, cdb, 1024);

        Assert.Equal(1024, request.Transferred);
        Assert.False(_buffer.AsSpan(0, 1024).ContainsAnyExcept((byte)0xAB));
    }

    [Theory]
    [InlineData(new byte[] { 0x28, 0, 0, 0, 8, 0, 0, 0, 1, 0 })]
    [InlineData(new byte[] { 0x88, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 2, 0, 0 })]
    public void Reads_beyond_the_end_are_out_of_range(byte[] cdb)
    {
        Assert.Equal(ScsiSense.AddressOutOfRange, Run(new MemoryDisk(1 << 20), cdb, 1024).Sense);
    }

    [Fact]
    public void A_command_longer_than_its_buffer_is_an_overrun()
    {
        Assert.Equal(SrbStatus.DataOverrun, Run(new MemoryDisk(1 << 20), [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0], 512).SrbStatus);
    }

    [Fact]
    public void Forced_unit_access_reaches_the_disk()
    {
        var disk = new MemoryDisk(1 << 20);

        Run(disk, [0x2A, 0x08, 0, 0, 0, 0, 0, 0, 1, 0], 512);

        Assert.Equal(1, disk.ForcedWriteCount);
    }

    [Theory]
    [InlineData(new byte[] { 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0 })]
    [InlineData(new byte[] { 0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 })]
    public void Synchronising_the_cache_flushes(byte[] cdb)
    {
        var disk = new MemoryDisk(1 << 20);

        Assert.Equal(SrbStatus.Success, Run(disk, cdb, 0).SrbStatus);
        Assert.Equal(1, disk.FlushCount);
    }

    [Fact]
    public void Unmap_trims_each_descriptor()
    {
        var disk = new MemoryDisk(1 << 20);
        BinaryPrimitives.WriteUInt16BigEndian(_buffer, 38);
        BinaryPrimitives.WriteUInt16BigEndian(_buffer.AsSpan(2), 32);
        BinaryPrimitives.WriteUInt64BigEndian(_buffer.AsSpan(8), 16);
        BinaryPrimitives.WriteUInt32BigEndian(_buffer.AsSpan(16), 8);
        BinaryPrimitives.WriteUInt64BigEndian(_buffer.AsSpan(24), 100);
        BinaryPrimitives.WriteUInt32BigEndian(_buffer.AsSpan(32), 4);

        Assert.Equal(SrbStatus.Success, Run(disk, [0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0], 40).SrbStatus);
        Assert.Equal([(16L * 512, 8L * 512), (100L * 512, 4L * 512)], disk.Trims);
    }

    [Fact]
    public void Unmap_beyond_the_end_trims_nothing()
    {
        var disk = new MemoryDisk(1 << 20);
        BinaryPrimitives.WriteUInt16BigEndian(_buffer.AsSpan(2), 16);
        BinaryPrimitives.WriteUInt64BigEndian(_buffer.AsSpan(8), 2048);
        BinaryPrimitives.WriteUInt32BigEndian(_buffer.AsSpan(16), 1);

        Assert.Equal(ScsiSense.AddressOutOfRange, Run(disk, [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 24).Sense);
        Assert.Empty(disk.Trims);
    }

    [Fact]
    public void Write_same_repeats_a_pattern_over_the_whole_range()
    {
        var disk = new MemoryDisk(1 << 20);
        _buffer.AsSpan(0, 512).Fill(0x5A);

        Run(disk, [0x93, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0], 512);

        Assert.False(disk.Content.AsSpan(512, 256 * 512).ContainsAnyExcept((byte)0x5A));
        Assert.Equal(0, disk.Content[511]);
        Assert.Equal(0, disk.Content[257 * 512]);
    }

    [Fact]
    public void A_read_only_disk_says_so_and_refuses_writes()
    {
        var disk = new MemoryDisk(1 << 20, readOnly: true);

        Run(disk, [0x1A, 0, 0x3F, 0, 192, 0], 192);
        Assert.Equal(0x80, _buffer[2] & 0x80);
        Assert.Equal(ScsiSense.WriteProtected, Run(disk, [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512).Sense);
    }

    [Fact]
    public void Mode_sense_tells_that_writes_are_cached()
    {
        var request = Run(new MemoryDisk(1 << 20), [0x1A, 0, 0x08, 0, 192, 0], 192);
        Assert.Equal(24, request.Transferred);
        Assert.Equal(0x04, _buffer[6]);

        request = Run(new MemoryDisk(1 << 20), [0x5A, 0, 0x08, 0, 0, 0, 0, 0, 192, 0], 192);
        Assert.Equal(28, request.Transferred);
        Assert.Equal(0x04, _buffer[10]);
    }

    [Fact]
    public void A_changed_capacity_is_told_once()
    {
        var disk = new ScsiDisk(new MemoryDisk(1 << 20));
        disk.NotifyCapacityChanged();

        Assert.Equal(ScsiSense.CapacityChanged, Run(disk, [0, 0, 0, 0, 0, 0], 0).Sense);
        Assert.Equal(SrbStatus.Success, Run(disk, [0, 0, 0, 0, 0, 0], 0).SrbStatus);
    }

    [Fact]
    public void Unknown_commands_are_illegal()
    {
        Assert.Equal(ScsiSense.InvalidOperationCode, Run(new MemoryDisk(1 << 20), [0x5E, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0).Sense);
    }

    private ScsiRequest Run(MemoryDisk disk, byte[] cdb, int length) => Run(new ScsiDisk(disk), cdb, length);

    private ScsiRequest Run(ScsiDisk disk, byte[] cdb, int length)
    {
        var request = new ScsiRequest();
        request.Begin(cdb);
        for (var at = 0; at < length; at += 1000)
        {
            request.AddBuffer(_buffer.AsMemory(at, Math.Min(1000, length - at)));
        }

        if (disk.TryStart(request, out var pending))
        {
            pending.AsTask().GetAwaiter().GetResult();
            disk.Finish(request);
        }

        return request;
    }
}
