using System.CommandLine;
using Spectre.Console;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd check</c>: exit code 2 when problems are left.</summary>
internal static class VhdCheckCommand
{
    private const int Damaged = 2;

    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The disk." };
        var repair = new Option<bool>("--repair") { Description = "Mend what can be mended." };
        var json = VhdConsole.Json();
        var share = VhdConsole.ForceShare();
        var command = new Command("check", "Prove a disk's file sound, or say what is wrong.") { path, repair, json, share };
        VhdConsole.Run(command, (result, cancellation) =>
        {
            var report = DiskCheck.Run(
                result.GetValue(path)!, result.GetValue(repair),
                result.Opening(unlocked: result.GetValue(share)),
                VhdConsole.Progress("Checking"), cancellation);
            if (result.GetValue(json))
            {
                VhdConsole.PrintJson(report);
            }
            else
            {
                PrintReport(report);
            }

            if (!report.IsSound)
            {
                throw new ExitException(Damaged);
            }
        });
        return command;
    }

    private static void PrintReport(DiskCheckReport report)
    {
        if (report.Problems.Count > 0)
        {
            var table = new Table { Border = TableBorder.Minimal };
            table.AddColumn("Structure").AddColumn("Offset").AddColumn("Problem").AddColumn("State");
            foreach (var problem in report.Problems)
            {
                table.AddRow(
                    Markup.Escape(problem.Structure), problem.Offset.ToString(), Markup.Escape(problem.Description),
                    (problem.Repaired ? "repaired" : "damaged") + (problem.LosesContent ? ", content lost" : ""));
            }

            VhdConsole.Print(table);
        }

        Console.Out.WriteLine(report.IsSound ? "The file is sound." : "The file is damaged.");
        if (report.NeedsReplay)
        {
            Console.Out.WriteLine("It was not closed cleanly, or is open elsewhere; the next writer puts it in order.");
        }

        Console.Out.WriteLine($"{ByteSize.Format(report.AllocatedBytes)} in blocks, {ByteSize.Format(report.UnusedBytes)} unused.");
    }
}
