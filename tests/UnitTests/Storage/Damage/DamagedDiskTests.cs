using System.Diagnostics;
using Vitro.Storage;
using Vitro.Storage.Files;
using Vitro.Storage.Vhdx;
using Xunit;

namespace Vitro.UnitTests.Storage.Damage;

public sealed class DamagedDiskTests : IDisposable
{
    private const int Megabyte = 1 << 20;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Damaged_structures_never_crash_hang_or_fill_memory(int seed)
    {
        var random = new Random(seed);
        var count = Environment.GetEnvironmentVariable("VITRO_LONG_TESTS") == "1" ? 10_000 : 300;
        for (var i = 0; i < count; i++)
        {
            var input = new byte[random.Next(6, 60)];
            random.NextBytes(input);
            var before = GC.GetAllocatedBytesForCurrentThread();
            var watch = Stopwatch.StartNew();

            DiskImageCase.Run(input);

            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 256L * Megabyte, $"memory: {Convert.ToHexString(input)}");
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30), $"time: {Convert.ToHexString(input)}");
        }
    }

    /// <summary>What a fuzzer found to take for ever: places and lengths of a log that lie terabytes away, with right checksums.</summary>
    [Theory]
    [InlineData("d5d5d5bfd5d510")]
    [InlineData("ffb300b3b3b3b3c3b3b3b3b3b3b3adb3b3b3b3b9b9b3201ab3b3b3b3b3b35f0c35b9b35bb324cdd5beb3b20064")]
    public void A_log_that_is_whole_and_senseless_takes_no_time(string input) => DiskImageCase.Run(Convert.FromHexString(input));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_log_that_changes_what_is_outside_the_file_is_refused_and_the_file_left_alone(bool readOnly)
    {
        var path = MakeDisk();
        using (var file = HostDiskFileSystem.Instance.Open(path, writable: true, DiskLocking.Normal))
        {
            var headers = HeaderPair.Read(file);
            var log = Guid.NewGuid();
            headers.Update(headers.Current with { LogGuid = log });
            var entry = new byte[LogEntry.SizeOf(1)];
            LogEntry.Write(entry, [new LogPage(1L << 44, new byte[4096])], tail: 0, sequenceNumber: 1, log, (ulong)file.Length);
            file.Write((long)headers.Current.LogOffset, entry);
        }

        var before = File.ReadAllBytes(path);
        var error = Assert.Throws<DiskDamagedException>(() => DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = readOnly }));

        Assert.Contains("outside a file", error.Message, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(path));
    }

    [Fact]
    public void Both_headers_gone_is_said_with_the_offset_and_the_cure()
    {
        var path = MakeDisk();
        Overwrite(path, 64 << 10, new byte[4096]);
        Overwrite(path, 128 << 10, new byte[4096]);

        var error = Assert.Throws<DiskDamagedException>(() => DiskFactory.Open(path));

        Assert.Equal(64 << 10, error.Offset);
        Assert.Contains("vitro vhd check --repair", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_block_that_points_outside_the_file_is_named_and_the_others_are_read()
    {
        var path = MakeDisk();
        Overwrite(path, 3 * Megabyte, BitConverter.GetBytes(0x7FFFFFFF_00000006UL & ~0xFFFFFUL | 6));
        var disk = DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });

        var error = Assert.Throws<DiskDamagedException>(() => disk.Get(0, 512));
        Assert.Contains("entry 0", error.Message, StringComparison.Ordinal);
        Assert.Equal(DiskContent.Random(Megabyte, 1), disk.Get(Megabyte, Megabyte));
        disk.Close();

        Assert.False(DiskCheck.Run(path).IsSound);
        Assert.True(DiskCheck.Run(path, repair: true).IsSound);
        disk = DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });
        Assert.Equal(new byte[512], disk.Get(0, 512));
        disk.Close();
    }

    [Fact]
    public void A_region_that_is_unknown_and_required_is_refused()
    {
        var path = MakeDisk();
        var table = new Vitro.Storage.Vhdx.RegionTable(
        [
            new(Vitro.Storage.Vhdx.RegionTable.BatId, 3 * Megabyte, Megabyte, Required: true),
            new(Vitro.Storage.Vhdx.RegionTable.MetadataId, 2 * Megabyte, Megabyte, Required: true),
            new(Guid.NewGuid(), 4 * Megabyte, Megabyte, Required: true),
        ]);
        using (var file = HostDiskFileSystem.Instance.Open(path, writable: true, DiskLocking.Normal))
        {
            table.Store(file);
        }

        Assert.Contains("does not know", Assert.Throws<DiskDamagedException>(() => DiskFactory.Open(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Opening_a_damaged_file_for_writing_does_not_write_to_it()
    {
        var path = MakeDisk();
        Overwrite(path, 2 * Megabyte, new byte[4096]); // the metadata table
        var before = File.ReadAllBytes(path);

        Assert.Throws<DiskDamagedException>(() => DiskFactory.Open(path));

        Assert.True(before.AsSpan().SequenceEqual(File.ReadAllBytes(path)));
    }

    [Fact]
    public void A_file_that_was_cut_off_does_not_grow_over_what_its_table_claims()
    {
        var path = MakeDisk();
        var length = new FileInfo(path).Length - Megabyte;
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(length);
        }

        var disk = DiskFactory.Open(path);
        var error = Assert.Throws<DiskDamagedException>(() => disk.Put(5 * Megabyte, new byte[4096]));
        Assert.Contains("entry 1", error.Message, StringComparison.Ordinal);
        disk.Put(4096, DiskContent.Random(4096, 2)); // what is there can still be written
        disk.Close();

        Assert.Equal(length, new FileInfo(path).Length);
    }

    [Fact]
    public void A_file_that_a_crash_left_ending_inside_a_megabyte_goes_on_being_sound()
    {
        var path = MakeDisk();
        using (var file = File.OpenWrite(path))
        {
            file.SetLength(file.Length + 4096);
        }

        var disk = DiskFactory.Open(path);
        disk.Put(5 * Megabyte, DiskContent.Random(4096, 3));
        disk.Close();

        Assert.Empty(DiskCheck.Run(path).Problems);
        disk = DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });
        Assert.Equal(DiskContent.Random(4096, 3), disk.Get(5 * Megabyte, 4096));
        disk.Close();
    }

    private static void Overwrite(string path, long offset, byte[] bytes)
    {
        using var file = File.OpenWrite(path);
        file.Position = offset;
        file.Write(bytes);
    }

    private string MakeDisk()
    {
        var path = _folder.File("disk.vhdx");
        DiskFactory.Create(path, new DiskCreateOptions { Length = 8 * Megabyte, BlockSize = Megabyte });
        var disk = DiskFactory.Open(path);
        disk.Put(0, DiskContent.Random(Megabyte, 0));
        disk.Put(Megabyte, DiskContent.Random(Megabyte, 1));
        disk.Close();
        return path;
    }
}
