using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd convert</c>.</summary>
internal static class VhdConvertCommand
{
    internal static Command Create()
    {
        var source = new Argument<string>("source") { Description = "Any disk; a differencing one with what is below it." };
        var destination = new Argument<string>("target") { Description = "The new file." };
        var sourceFormat = new Option<DiskFormat?>("--source-format") { Description = "Take the source as this instead of recognising it." };
        var noSync = new Option<bool>("--no-sync") { Description = "Do not wait until the result is durable." };
        var target = new VhdTarget();
        var command = new Command("convert", "Copy a disk into a new one of any kind.") { source, destination, sourceFormat, noSync };
        target.AddTo(command);
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var file = result.GetValue(destination)!;
            var options = target.Read(result, file) with { SkipSync = result.GetValue(noSync) };
            DiskConversion.Convert(
                result.GetValue(source)!, file, options, result.Opening() with { Format = result.GetValue(sourceFormat) },
                VhdConsole.Progress("Converting"), cancellation);
        });
        return command;
    }
}
