using System.CommandLine;
using System.Runtime.InteropServices;
using Spectre.Console;
using Vitro.Configuration;
using Vitro.WorkerProcess;

namespace Vitro.Cli;

/// <summary><c>vitro doctor</c>: what this host can do, what is missing, and how to get it.</summary>
internal static class DoctorCommand
{
    /// <summary>Programs the guest recipe and the tools use, with the Debian package of each.</summary>
    private static readonly (string Program, string Package, string Use)[] Programs =
    [
        ("dpkg-deb", "dpkg", "guest images: unpacking packages"),
        ("apt-get", "apt", "guest images: fetching packages"),
        ("mke2fs", "e2fsprogs", "guest images: the root file system"),
        ("cpio", "cpio", "guest images: the initial RAM disk"),
        ("qemu-img", "qemu-utils", "tests and benchmarks of disk formats"),
        ("qemu-system-x86_64", "qemu-system-x86", "benchmarks: the peer"),
    ];

    internal static Command Create()
    {
        var command = new Command("doctor", "Say which engines this host can use, what is missing and how to get it.");
        command.SetAction(_ => Examine());
        return command;
    }

    private static int Examine()
    {
        var table = new Table().Border(TableBorder.Rounded).AddColumns("", "What", "Finding");
        var usable = false;
        foreach (var engine in EngineCatalog.All)
        {
            var availability = engine.Probe();
            usable |= availability.IsUsable;
            Row(table, availability.IsUsable, "engine " + engine.Name, availability.Reason);
            foreach (var finding in engine.Findings)
            {
                Row(table, finding.IsGood, $"  {finding.Subject}", finding.Detail);
            }

            if (availability.IsUsable)
            {
                Row(table, null, "  machines from elsewhere", $"go on under it when they began with --cpu {EngineCatalog.PortableProcessor(engine)}");
            }
        }

        Row(table, null, "processor", $"{RuntimeInformation.ProcessArchitecture}, {Environment.ProcessorCount} logical processors");
        Row(table, null, "memory", $"{ByteSize.Format(HostMemory.Available())} available for machines");
        foreach (var (program, package, use) in Programs)
        {
            var found = Find(program);
            Row(table, found is not null, program, found ?? $"Missing ({use}). Get it with: apt-get install {package}");
        }

        AnsiConsole.Write(table);
        return usable ? ExitCodes.Success : ExitCodes.Failure;
    }

    private static void Row(Table table, bool? good, string what, string finding) =>
        table.AddRow(good switch { true => "[green]ok[/]", false => "[red]no[/]", null => "" }, Markup.Escape(what), Markup.Escape(finding));

    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Append("/usr/sbin").Append("/sbin")
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(File.Exists);
}
