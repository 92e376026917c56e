using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd merge</c>.</summary>
internal static class VhdMergeCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("child") { Description = "A differencing disk." };
        var target = new Option<string?>("--into") { Description = "The ancestor that takes the content; the parent by default." };
        var keep = new Option<bool>("--keep") { Description = "Keep the merged files." };
        var command = new Command("merge", "Move what a differencing disk holds into a disk below it.") { path, target, keep };
        VhdConsole.Run(command, (result, cancellation) => DiskMerge.Merge(
            result.GetValue(path)!, result.GetValue(target), result.GetValue(keep), result.Opening(),
            VhdConsole.Progress("Merging"), cancellation));
        return command;
    }
}
