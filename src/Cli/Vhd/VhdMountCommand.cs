using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd mount</c>: serves a disk, or one partition of it, over NBD on a Unix socket until Ctrl+C.</summary>
internal static class VhdMountCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The disk." };
        var socket = new Option<string>("--socket") { Required = true, Description = "The Unix socket to create." };
        var partition = new Option<int>("--partition") { Description = "Serve this partition only; 0 is the whole disk." };
        var writable = new Option<bool>("--read-write") { Description = "Allow writes; by default the disk is read-only." };
        var command = new Command("mount", "Serve a disk over NBD, for nbd-client, qemu-nbd, guestmount and others.") { path, socket, partition, writable };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var disk = DiskFactory.Open(result.GetValue(path)!, result.Opening(readOnly: !result.GetValue(writable)));
            try
            {
                var number = result.GetValue(partition);
                foreach (var found in DiskPartition.List(disk))
                {
                    Console.Error.WriteLine($"Partition {found.Number}: {ByteSize.Format(found.Length)} at {found.Offset}, type {found.Type}");
                }

                using var server = new NbdServer(disk, result.GetValue(socket)!, number == 0 ? null : DiskPartition.Find(disk, number));
                Console.Error.WriteLine($"Serving nbd+unix:///?socket={Path.GetFullPath(result.GetValue(socket)!)}; end with Ctrl+C.");
                server.RunAsync(cancellation).GetAwaiter().GetResult();
            }
            finally
            {
                disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }
        });
        return command;
    }
}
