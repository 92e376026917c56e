using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary>What the commands print: results on standard output, as a table or as JSON; progress and errors on standard error.</summary>
internal static class VhdConsole
{
    private static readonly JsonSerializerOptions JsonOptions = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    /// <summary>The option every command that prints a result has.</summary>
    internal static Option<bool> Json() => new("--json") { Description = "Print JSON." };

    internal static Option<bool> ForceShare() =>
        new("--force-share") { Description = "Look at a disk that is in use; what is shown may be out of date." };

    internal static void PrintJson<T>(T value) => Console.Out.WriteLine(JsonSerializer.Serialize(value, JsonOptions));

    internal static void PrintPairs(params (string Name, string Value)[] pairs)
    {
        var table = new Table { Border = TableBorder.None, ShowHeaders = false };
        table.AddColumn("").AddColumn("");
        foreach (var (name, value) in pairs)
        {
            table.AddRow(Markup.Escape(name), Markup.Escape(value));
        }

        Print(table);
    }

    internal static void Print(Table table)
    {
        // A table in a pipe must not be folded at a terminal's width.
        var console = AnsiConsole.Console;
        if (Console.IsOutputRedirected)
        {
            console.Profile.Width = 400;
        }

        console.Write(table);
    }

    /// <summary>Runs a command's work: cancelled by Ctrl+C, errors as one line and exit code 1.</summary>
    internal static void Run(Command command, Action<ParseResult, CancellationToken> work) => command.SetAction(async (result, cancellation) =>
    {
        try
        {
            await Task.Run(() => work(result, cancellation), CancellationToken.None);
            return 0;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine("Cancelled.");
            return 130;
        }
        catch (ExitException exit)
        {
            return exit.Code;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            Console.Error.WriteLine("vitro: " + error.Message);
            return 1;
        }
    });

    /// <summary>A percentage that moves in place, on a terminal only.</summary>
    internal static IProgress<DiskProgress>? Progress(string what) => Console.IsErrorRedirected ? null : new Percentage(what);

    private sealed class Percentage(string what) : IProgress<DiskProgress>
    {
        private int _shown = -1;

        public void Report(DiskProgress value)
        {
            var percent = value.Total <= 0 ? 100 : (int)Math.Min(100, value.Done * 100 / value.Total);
            if (Interlocked.Exchange(ref _shown, percent) != percent)
            {
                Console.Error.Write($"\r{what} {percent,3} %{(percent == 100 ? "\n" : "")}");
            }
        }
    }
}

/// <summary>Ends a command with an exit code of its own, after it has printed its result.</summary>
internal sealed class ExitException(int code) : Exception
{
    internal int Code { get; } = code;
}
