using Xunit;

namespace Vitro.UnitTests.Storage.Exchange;

/// <summary>A disk as libvhdi shows it: <c>vhdimount</c> makes it a file.</summary>
internal sealed class LibvhdiMount : IDisposable
{
    private readonly string _mount;

    /// <summary>Mounts the disk at <paramref name="path"/>; the test is skipped where that cannot be.</summary>
    /// <param name="path">The disk.</param>
    /// <param name="mount">A folder that is made for it.</param>
    /// <param name="layers">The disk and its parents.</param>
    internal LibvhdiMount(string path, string mount, int layers = 1)
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess && File.Exists("/dev/fuse"), "vhdimount needs root and /dev/fuse.");
        _mount = Directory.CreateDirectory(mount).FullName;
        ForeignTool.Run("vhdimount", path, mount);
        Disk = Path.Combine(mount, $"vhdi{layers}");
    }

    /// <summary>The disk's content.</summary>
    internal string Disk { get; }

    public void Dispose() => ForeignTool.Run("umount", _mount);
}
