using Xunit;

namespace Vitro.SystemTests.Nfs;

/// <summary>
/// Locks of disks between two hosts that mount one NFS export: the stock kernel's own server and client, with vitro on two
/// hosts. This host's kernel need not have NFS, for all of it is inside a machine; .NET in a guest is a test of the engine, too.
/// </summary>
public sealed class NfsLockTests
{
    [Fact]
    public async Task A_disk_open_for_writing_on_one_host_is_refused_on_another()
    {
        var machine = await NfsMachine.RunAsync(processors: 2, TimeSpan.FromMinutes(4));

        Assert.True(machine.Failures.Count == 0, machine.Console);
        Assert.True(machine.Clients == 2, "the server saw other than two hosts: " + machine.Console);

        // In the order of the script tests/SystemTests/Nfs/init.
        var written = "the file is in use";
        var read = "the file is open for writing elsewhere";
        Expect(machine, "1 vhd new /host1/disk.vhdx 64M", exitCode: 0);
        Expect(machine, "2 vhd identity /host2/disk.vhdx", exitCode: 1, "/host2/disk.vhdx: " + written);
        Expect(machine, "2 vhd info /host2/disk.vhdx", exitCode: 1, "/host2/disk.vhdx: " + read);
        Expect(machine, "0 vhd identity /export/disk.vhdx", exitCode: 1, "/export/disk.vhdx: " + written); // on the server itself
        Expect(machine, "2 vhd identity /host2/disk.vhdx", exitCode: 0); // closed by now
        Expect(machine, "2 vhd identity /host2/disk.vhdx", exitCode: 1, "/host2/disk.vhdx: " + written); // open on the server
        Expect(machine, "1 vhd new /host1/child.vhdx --parent /host1/disk.vhdx", exitCode: 0);
        Expect(machine, "2 vhd info /host2/disk.vhdx", exitCode: 0, "dynamic"); // a parent in use can be read
        Expect(machine, "2 vhd identity /host2/disk.vhdx", exitCode: 1, "/host2/disk.vhdx: " + written); // and not written
        Assert.Empty(machine.Checks);
    }

    private static void Expect(NfsMachine machine, string command, int exitCode, string output = "")
    {
        Assert.True(machine.Checks.Count > 0, $"'{command}' was not run: {machine.Console}");
        var check = machine.Checks.Dequeue();
        Assert.Equal((command, exitCode), (check.Command, check.ExitCode));
        Assert.Contains(output, check.Output, StringComparison.OrdinalIgnoreCase);
    }
}
