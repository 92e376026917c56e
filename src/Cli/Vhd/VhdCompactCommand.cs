using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd compact</c>.</summary>
internal static class VhdCompactCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "A dynamic or differencing disk." };
        var quick = new Option<bool>("--quick") { Description = "Only what is known to be free, without reading the content for zeroes." };
        var command = new Command("compact", "Make a disk's file as short as its content allows.") { path, quick };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var gained = DiskCompaction.Compact(
                result.GetValue(path)!, result.GetValue(quick) ? CompactionMode.Quick : CompactionMode.Full,
                result.Opening(), VhdConsole.Progress("Compacting"), cancellation);
            Console.Out.WriteLine($"{ByteSize.Format(gained)} given back.");
        });
        return command;
    }
}
