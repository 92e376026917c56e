using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd resize</c>.</summary>
internal static class VhdResizeCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The disk." };
        var size = new Argument<long>("size") { CustomParser = ByteSize.Parse, Arity = ArgumentArity.ZeroOrOne, Description = "The new size, such as 80G." };
        var minimum = new Option<bool>("--minimum") { Description = "As small as its partitions or content allow." };
        var command = new Command("resize", "Make a disk longer or shorter; never cuts a partition.") { path, size, minimum };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            if (result.GetValue(minimum) == (result.GetValue(size) != 0))
            {
                throw new BlockIOException("Say either a size or --minimum.");
            }

            DiskResize.Resize(
                result.GetValue(path)!, result.GetValue(size), result.Opening(), progress: VhdConsole.Progress("Resizing"), cancellation: cancellation);
        });
        return command;
    }
}
