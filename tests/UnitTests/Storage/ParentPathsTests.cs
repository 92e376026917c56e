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
}
