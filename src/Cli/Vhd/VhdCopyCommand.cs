using System.CommandLine;
using System.Text.Json;
using Vitro.Client;
using Vitro.Configuration.Control;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd copy</c>: a disk as it is at one moment, also while a machine writes to it.</summary>
internal static class VhdCopyCommand
{
    internal static Command Create()
    {
        var source = new Argument<string>("source") { Description = "Any disk; a differencing one with what is below it." };
        var destination = new Argument<string>("target") { Description = "The new file." };
        var machine = new Option<string?>("--machine") { Description = "The running machine that has the disk open." };
        var target = new VhdTarget();
        var command = new Command("copy", "Copy a disk as it is at one moment, also one that a running machine uses.") { source, destination, machine };
        target.AddTo(command);
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var from = result.GetValue(source)!;
            var to = result.GetValue(destination)!;
            var options = target.Read(result, to);
            if (result.GetValue(machine) is { } name)
            {
                RequestAsync(name, from, to, options, cancellation).GetAwaiter().GetResult();
                return;
            }

            var disk = Open(from, result.Opening(readOnly: true));
            try
            {
                DiskCopy.Run(disk, to, options, progress: VhdConsole.Progress("Copying"), cancellation: cancellation);
            }
            finally
            {
                disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }
        });
        return command;
    }

    // With the shared lock nobody can open it for writing meanwhile.
    private static VirtualDisk Open(string path, DiskOpenOptions options)
    {
        try
        {
            return DiskFactory.Open(path, options);
        }
        catch (BlockIOException error)
        {
            var running = string.Join(", ", ControlSocketPath.RunningMachines());
            throw running.Length == 0 ? error
                : new BlockIOException($"{error.Message} If one of the running machines has it open ({running}), name that with --machine.", error);
        }
    }

    private static async Task RequestAsync(string machine, string from, string to, DiskCreateOptions options, CancellationToken cancellation)
    {
        try
        {
            await using var client = await ControlClient.ConnectAsync(machine, cancellation);
            var request = new DiskCopyRequest(
                Path.GetFullPath(from), Path.GetFullPath(to), options.Format.ToString(),
                options.Kind == DiskKind.Fixed, options.Sparse, options.BlockSize, options.Overwrite);
            _ = await client.RequestAsync(
                ControlVerbs.CopyDisk, JsonSerializer.Serialize(request, ControlJsonContext.Default.DiskCopyRequest),
                VhdConsole.Progress("Copying") is { } percentage ? new Told(percentage) : null, cancellation);
        }
        catch (ControlException error)
        {
            throw new BlockIOException(error.Message, error);
        }
    }

    /// <summary>Passes on what the machine tells.</summary>
    private sealed class Told(IProgress<DiskProgress> to) : IProgress<ControlProgress>
    {
        public void Report(ControlProgress value) => to.Report(new DiskProgress(value.Done, value.Total));
    }
}
