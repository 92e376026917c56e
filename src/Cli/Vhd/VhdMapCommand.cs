using System.CommandLine;
using Spectre.Console;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd map</c>.</summary>
internal static class VhdMapCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The disk." };
        var json = VhdConsole.Json();
        var share = VhdConsole.ForceShare();
        var command = new Command("map", "List which ranges of a disk are stored, and in which layer.") { path, json, share };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var disk = DiskFactory.Open(
                result.GetValue(path)!,
                result.Opening(readOnly: true, unlocked: result.GetValue(share)));
            var ranges = new List<DiskRange>();
            try
            {
                foreach (var range in DiskMap.Of(disk))
                {
                    cancellation.ThrowIfCancellationRequested();
                    ranges.Add(range);
                }
            }
            finally
            {
                disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }

            if (result.GetValue(json))
            {
                VhdConsole.PrintJson(ranges);
                return;
            }

            var table = new Table { Border = TableBorder.Minimal };
            table.AddColumn("Offset").AddColumn("Length").AddColumn("Content").AddColumn("Layer");
            foreach (var range in ranges)
            {
                table.AddRow(range.Offset.ToString(), range.Length.ToString(), range.IsData ? "data" : "zero", range.Depth.ToString());
            }

            VhdConsole.Print(table);
        });
        return command;
    }
}
