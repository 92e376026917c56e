using Vitro.Storage.Disks;
using Xunit;

namespace Vitro.UnitTests.Storage;

public sealed class ParentPathsTests
{
    [Fact]
    public void Names_with_a_NUL_are_no_paths() =>
        Assert.Empty(ParentPaths.Candidates("/disks/child", ".\\pa\0rent", ["/disks/pa\0rent", null, ""], new Dictionary<string, string>()));

    [Fact]
    public void The_relative_name_comes_first_and_the_bare_name_last() =>
        Assert.Equal(
            ["/disks/below/parent", "/mnt/d/parent", "/disks/parent"],
            ParentPaths.Candidates("/disks/child", ".\\below\\parent", ["D:\\parent"], new Dictionary<string, string> { ["D:\\"] = "/mnt/d" }));

    [Theory]
    [InlineData("D:\\", "D:\\Disks\\parent", "/mnt/d/Disks/parent")]
    [InlineData("d:\\disks", "D:\\Disks\\parent", "/mnt/d/parent")]
    [InlineData("D:\\Disks\\", "\\\\?\\D:\\Disks\\parent", "/mnt/d/parent")]
    [InlineData("D:\\Dis", "D:\\Disks\\parent", "/disks/parent")]
    public void A_Windows_folder_is_found_where_it_is_said_to_be(string folder, string remembered, string first) =>
        Assert.Equal(first, ParentPaths.Candidates("/disks/child", null, [remembered], new Dictionary<string, string> { [folder] = "/mnt/d" }).First());
}
