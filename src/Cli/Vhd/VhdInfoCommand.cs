using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd info</c>.</summary>
internal static class VhdInfoCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The disk." };
        var json = VhdConsole.Json();
        var share = VhdConsole.ForceShare();
        var command = new Command("info", "Show what a disk is.") { path, json, share };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var info = DiskInfo.Of(
                result.GetValue(path)!,
                result.Opening(readOnly: true, unlocked: result.GetValue(share)),
                cancellation: cancellation);
            if (result.GetValue(json))
            {
                VhdConsole.PrintJson(info);
                return;
            }

            var lines = new List<(string, string)>
            {
                ("Path", info.Path),
                ("Format", $"{info.Format.ToString().ToUpperInvariant()}, {info.Kind.ToString().ToLowerInvariant()}"),
                ("Size", $"{ByteSize.Format(info.Length)} ({info.Length} bytes)"),
                ("File size", ByteSize.Format(info.FileLength)),
                ("Minimum size", ByteSize.Format(info.MinimumLength)),
                ("Sectors", $"{info.LogicalSectorSize} logical, {info.PhysicalSectorSize} physical"),
            };
            if (info.BlockSize > 0)
            {
                lines.Add(("Block size", ByteSize.Format(info.BlockSize)));
                lines.Add(("Blocks stored", info.AllocatedBlocks.ToString()));
                lines.Add(("Fragmentation", $"{info.FragmentationPercentage} %"));
            }

            if (info.Identity != Guid.Empty)
            {
                lines.Add(("Identity", info.Identity.ToString()));
            }

            lines.AddRange(info.Parents.Select(parent => ("Parent", parent)));
            if (info.ParentWrittenLater)
            {
                lines.Add(("Parent's time", "written to after this disk was made: if it was not only copied or compacted, the content here may be wrong"));
            }

            if (info.NeedsReplay)
            {
                lines.Add(("Log", "not replayed: open elsewhere, or not closed cleanly"));
            }

            VhdConsole.PrintPairs([.. lines]);
        });
        return command;
    }
}
