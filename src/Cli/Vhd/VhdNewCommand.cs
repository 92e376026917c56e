using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd new</c>.</summary>
internal static class VhdNewCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The new file." };
        var size = new Argument<long>("size") { CustomParser = ByteSize.Parse, Arity = ArgumentArity.ZeroOrOne, Description = "Such as 40G; with --parent, the parent's by default." };
        var parent = new Option<string?>("--parent") { Description = "Make a differencing disk over this one." };
        var logical = new Option<int>("--logical-sector") { DefaultValueFactory = _ => 512, Description = "512 or 4096." };
        var physical = new Option<int>("--physical-sector") { DefaultValueFactory = _ => 4096, Description = "512 or 4096." };
        var target = new VhdTarget();
        var command = new Command("new", "Create an empty disk.") { path, size, parent, logical, physical };
        target.AddTo(command);
        VhdConsole.Run(command, (result, _) =>
        {
            var file = result.GetValue(path)!;
            var options = target.Read(result, file) with
            {
                Length = result.GetValue(size),
                LogicalSectorSize = result.GetValue(logical),
                PhysicalSectorSize = result.GetValue(physical),
                ParentPath = result.GetValue(parent),
            };
            if (options.ParentPath is not null)
            {
                options = options with { Kind = DiskKind.Differencing };
            }

            DiskFactory.Create(file, options);
        });
        return command;
    }
}
