using Vitro.Storage;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Random operations on a chain of disks against a flat array, with reopening in between.</summary>
public sealed class DiskModelTests : IDisposable
{
    private const int Length = (9 << 20) + 4096;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<DiskFormat, int, int> Runs()
    {
        var runs = new TheoryData<DiskFormat, int, int>();
        for (var seed = 1; seed <= 4; seed++)
        {
            runs.Add(DiskFormat.Vhd, 512, seed);
            runs.Add(DiskFormat.Vhdx, 512, seed);
            runs.Add(DiskFormat.Vhdx, 4096, seed);
        }

        return runs;
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void A_chain_behaves_as_a_flat_array(DiskFormat format, int sectorSize, int seed)
    {
        var random = new Random(seed);
        var model = new byte[Length];
        var levels = 1;
        Create(format, sectorSize, 0);
        var disk = DiskFactory.Open(PathOf(0));
        for (var step = 0; step < 300; step++)
        {
            var action = random.Next(100);
            var length = sectorSize * (random.Next(8) == 0 ? random.Next(1, (3 << 20) / sectorSize) : random.Next(1, 40));
            var offset = random.Next((Length - length) / sectorSize) * sectorSize;
            if (random.Next(8) == 0)
            {
                // Whole blocks take ways of their own.
                offset &= -(1 << 20);
                length = Math.Min(random.Next(1, 4) << 20, Length - offset);
            }

            switch (action)
            {
                case < 45:
                    var data = DiskContent.Random(length, random.Next());
                    disk.Put(offset, data);
                    data.CopyTo(model, offset);
                    break;
                case < 55:
                    disk.Zero(offset, length);
                    model.AsSpan(offset, length).Clear();
                    break;
                case < 60:
                    // A trimmed range may read as anything until it is written.
                    disk.Trim(offset, length);
                    disk.Zero(offset, length);
                    model.AsSpan(offset, length).Clear();
                    break;
                case < 70:
                    disk.Flush();
                    break;
                case < 74:
                    disk.Close();
                    disk = DiskFactory.Open(PathOf(levels - 1));
                    break;
                case < 76 when levels < 4:
                    disk.Close();
                    Create(format, sectorSize, levels++);
                    disk = DiskFactory.Open(PathOf(levels - 1));
                    break;
                default:
                    Assert.True(model.AsSpan(offset, length).SequenceEqual(disk.Get(offset, length)), $"step {step}: {length} bytes at {offset}");
                    break;
            }
        }

        disk.Close();
        disk = DiskFactory.Open(PathOf(levels - 1), new DiskOpenOptions { ReadOnly = true });
        Assert.True(model.AsSpan().SequenceEqual(disk.GetAll()));
        disk.Close();
    }

    private string PathOf(int level) => _folder.File("disk" + level);

    private void Create(DiskFormat format, int sectorSize, int level) => DiskFactory.Create(PathOf(level), new DiskCreateOptions
    {
        Format = format,
        Kind = level == 0 ? DiskKind.Dynamic : DiskKind.Differencing,
        Length = level == 0 ? Length : 0,
        LogicalSectorSize = sectorSize,
        BlockSize = 1 << 20,
        ParentPath = level == 0 ? null : PathOf(level - 1),
    });
}
