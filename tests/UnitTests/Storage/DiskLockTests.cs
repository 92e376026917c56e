using System.Diagnostics;
using Vitro.Storage;
using Xunit;

namespace Vitro.UnitTests.Storage;

/// <summary>Locks of open disks, as others on this host and on others see them.</summary>
public sealed class DiskLockTests : IDisposable
{
    private const int Megabyte = 1 << 20;

    // fcntl(2) on the whole file, as any program may ask: the first argument is 0 (read) or 1 (write), the second the file.
    private const string AskForLock =
        "use Fcntl; open(my $f, '+<', $ARGV[1]) or exit 2; my $l = pack('s s x4 q q i x4', $ARGV[0], 0, 0, 0, 0); exit(fcntl($f, F_SETLK, $l) ? 0 : 1)";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Another_program_meets_the_lock_as_a_byte_range_lock_which_is_what_NFS_passes_on()
    {
        var path = Make(_folder.File("disk.vhdx"));
        var disk = DiskFactory.Open(path);
        Assert.Equal((false, false), (CanLock(path, write: false), CanLock(path, write: true)));
        disk.Close();

        disk = DiskFactory.Open(path, new DiskOpenOptions { ReadOnly = true });
        Assert.Equal((true, false), (CanLock(path, write: false), CanLock(path, write: true)));
        disk.Close();
        Assert.True(CanLock(path, write: true));
    }

    [Fact]
    public void A_parent_in_use_is_locked_against_writers_and_not_against_readers()
    {
        var path = Make(_folder.File("disk.vhdx"));
        DiskFactory.Create(_folder.File("child.vhdx"), new DiskCreateOptions { Kind = DiskKind.Differencing, ParentPath = path });
        var child = DiskFactory.Open(_folder.File("child.vhdx"));

        Assert.Throws<BlockIOException>(() => DiskFactory.Open(path));
        Assert.Equal((true, false), (CanLock(path, write: false), CanLock(path, write: true)));
        child.Close();
    }

    private static string Make(string path)
    {
        DiskFactory.Create(path, new DiskCreateOptions { Length = 8 * Megabyte });
        return path;
    }

    private static bool CanLock(string path, bool write)
    {
        Assert.SkipUnless(File.Exists("/usr/bin/perl"), "perl is not installed (Debian package perl-base).");
        using var process = Process.Start("/usr/bin/perl", ["-e", AskForLock, write ? "1" : "0", path]);
        process.WaitForExit();
        Assert.InRange(process.ExitCode, 0, 1);
        return process.ExitCode == 0;
    }
}
