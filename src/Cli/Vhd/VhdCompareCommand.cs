using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd compare</c>: exit code 1 when the disks differ.</summary>
internal static class VhdCompareCommand
{
    internal static Command Create()
    {
        var one = new Argument<string>("one") { Description = "A disk." };
        var two = new Argument<string>("two") { Description = "Another, of any format." };
        var json = VhdConsole.Json();
        var command = new Command("compare", "Compare two disks by content.") { one, two, json };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var options = result.Opening(readOnly: true);
            var first = DiskFactory.Open(result.GetValue(one)!, options);
            using var closeFirst = new Closing(first);
            var second = DiskFactory.Open(result.GetValue(two)!, options);
            using var closeSecond = new Closing(second);
            var difference = DiskComparison.Compare(first, second, VhdConsole.Progress("Comparing"), cancellation);
            if (result.GetValue(json))
            {
                VhdConsole.PrintJson(difference);
            }
            else
            {
                Console.Out.WriteLine(difference switch
                {
                    { IsNone: true } => "The disks are equal.",
                    { FirstDifference: < 0 } => "One disk is longer, by zeroes.",
                    _ => $"{difference.DifferingSectors} sectors differ, the first at byte {difference.FirstDifference}.",
                });
            }

            if (!difference.IsNone)
            {
                throw new ExitException(1);
            }
        });
        return command;
    }

    private sealed class Closing(VirtualDisk disk) : IDisposable
    {
        public void Dispose() => disk.DisposeAsync().AsTask().GetAwaiter().GetResult();
    }
}
