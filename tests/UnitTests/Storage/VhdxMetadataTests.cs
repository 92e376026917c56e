using Vitro.Storage;
using Vitro.Storage.Vhdx;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Metadata items that this version does not know.</summary>
public sealed class VhdxMetadataTests : IDisposable
{
    private const int Megabyte = 1 << 20;
    private const uint ItemOffset = 512 << 10;

    private static readonly Guid Unknown = new("7E8A2C53-6D7B-4B0C-9E0C-0D4C1D2B3A49");

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void What_is_not_required_stays_through_every_change_of_the_metadata()
    {
        var path = MakeChild();
        var content = DiskContent.Random(3000, 1);
        AddItem(path, required: false, content);

        DiskIdentity.SetParent(path, _folder.File("parent"));
        DiskIdentity.Renew(path);
        DiskResize.Resize(path, 12 * Megabyte);

        Assert.Empty(DiskCheck.Run(path).Problems);
        var region = MetadataOf(path);
        Assert.True(MetadataTable.TryRead(region, region.Length, out var table, out _));
        var item = Assert.Single(table.Entries, entry => entry.Id == Unknown);
        Assert.Equal(content, region.AsSpan((int)item.Offset, (int)item.Length).ToArray());
    }

    [Fact]
    public void What_is_required_is_refused_and_the_file_left_alone()
    {
        var path = MakeChild();
        AddItem(path, required: true, DiskContent.Random(3000, 1));
        var before = File.ReadAllBytes(path);

        var error = Assert.Throws<DiskDamagedException>(() => DiskFactory.Open(path));

        Assert.Contains(Unknown.ToString(), error.Message, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(path));
    }

    private string MakeChild()
    {
        DiskFactory.Create(_folder.File("parent"), new DiskCreateOptions { Length = 8 * Megabyte });
        DiskFactory.Create(_folder.File("child"), new DiskCreateOptions { Kind = DiskKind.Differencing, ParentPath = _folder.File("parent") });
        return _folder.File("child");
    }

    private static Region RegionOf(string path)
    {
        var disk = (VhdxDisk)DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });
        disk.Close();
        return disk.Regions.Metadata;
    }

    private static byte[] MetadataOf(string path)
    {
        var place = RegionOf(path);
        return File.ReadAllBytes(path).AsSpan((int)place.FileOffset, (int)place.Length).ToArray();
    }

    private static void AddItem(string path, bool required, byte[] content)
    {
        var place = RegionOf(path);
        var region = MetadataOf(path);
        Assert.True(MetadataTable.TryRead(region, region.Length, out var table, out _));
        new MetadataTable([.. table.Entries, new MetadataEntry(Unknown, ItemOffset, (uint)content.Length, IsUser: false, IsVirtualDisk: true, required)])
            .Write(region);
        content.CopyTo(region, (int)ItemOffset);
        using var file = File.OpenWrite(path);
        file.Position = (long)place.FileOffset;
        file.Write(region);
    }
}
