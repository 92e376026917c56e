using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using Spectre.Console;
using Vitro.Client;
using Vitro.Configuration.Control;
using Vitro.Foundation;
using Vitro.WorkerProcess.Saving;

namespace Vitro.Cli;

/// <summary><c>vitro inspect</c>: the live tree of a running machine.</summary>
internal static class InspectCommand
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    internal static Command Create()
    {
        var machine = new Argument<string>("machine") { Description = "Name of the running machine, or the file of a saved one." };
        var path = new Argument<string>("path")
        {
            Description = "Part of the tree, for example vmbus/channels/3/ring.",
            DefaultValueFactory = _ => "",
        };
        var json = new Option<bool>("--json") { Description = "Print JSON." };
        var command = new Command("inspect", "Show the live state of a running machine, or what a saved one is, as a tree.") { machine, path, json };
        command.SetAction(async (result, cancellationToken) =>
        {
            try
            {
                var tree = await ReadAsync(result.GetValue(machine)!, result.GetValue(path)!, cancellationToken);
                if (result.GetValue(json))
                {
                    Console.WriteLine(tree?.ToJsonString(Indented) ?? "null");
                }
                else
                {
                    Show(result.GetValue(machine)!, tree);
                }

                return ExitCodes.Success;
            }
            catch (Exception error) when (error is ControlException or SavedStateException)
            {
                await Console.Error.WriteLineAsync("vitro inspect: " + error.Message);
                return ExitCodes.BadInput;
            }
        });
        return command;
    }

    private static async Task<JsonNode?> ReadAsync(string machine, string path, CancellationToken cancellationToken)
    {
        // A running machine comes first: its name may be a file's too.
        if (!File.Exists(machine) || ControlSocketPath.RunningMachines().Contains(machine, StringComparer.Ordinal))
        {
            await using var client = await ControlClient.ConnectAsync(machine, cancellationToken);
            return await client.RequestAsync(ControlVerbs.Inspect, path, cancellationToken);
        }

        using var saved = SavedMachine.Open(machine);
        var root = new InspectNode();
        saved.Inspect(root);
        return root.Find(path) switch
        {
            null => throw new ControlException($"Nothing is at '{path}' in the saved machine."),
            InspectNode node => node.ToJson(),
            long number => JsonValue.Create(number),
            bool flag => JsonValue.Create(flag),
            var text => JsonValue.Create((string)text),
        };
    }

    private static void Show(string title, JsonNode? node)
    {
        if (node is not JsonObject branch)
        {
            Console.WriteLine(node?.ToString() ?? "");
            return;
        }

        var tree = new Tree(Markup.Escape(title));
        AddChildren(tree, branch);
        AnsiConsole.Write(tree);
    }

    private static void AddChildren(IHasTreeNodes parent, JsonObject branch)
    {
        foreach (var (name, value) in branch)
        {
            if (value is JsonObject child)
            {
                AddChildren(parent.AddNode($"[bold]{Markup.Escape(name)}[/]"), child);
            }
            else
            {
                parent.AddNode(Markup.Escape($"{name}: {value}"));
            }
        }
    }
}
