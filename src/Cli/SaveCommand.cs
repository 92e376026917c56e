using System.CommandLine;
using Vitro.Client;
using Vitro.Configuration;
using Vitro.Configuration.Control;

namespace Vitro.Cli;

/// <summary><c>vitro save</c>: saves a running machine to a file and ends it.</summary>
internal static class SaveCommand
{
    internal static Command Create()
    {
        var machine = new Argument<string>("machine") { Description = "Name of the running machine." };
        var file = new Argument<string>("file") { Description = "File to save it to; replaced when it exists." };
        var command = new Command("save", "Save a running machine to a file and end it; 'vitro run --restore FILE' goes on with it.")
        {
            machine, file,
        };
        command.SetAction(async (result, cancellationToken) =>
        {
            try
            {
                await using var client = await ControlClient.ConnectAsync(result.GetValue(machine)!, cancellationToken);
                var path = Path.GetFullPath(result.GetValue(file)!);
                var length = await client.RequestAsync(ControlVerbs.Save, path, cancellationToken);
                Console.WriteLine($"{path}: {ByteSize.Format((long)length!)}");
                return ExitCodes.Success;
            }
            catch (ControlException error)
            {
                await Console.Error.WriteLineAsync("vitro save: " + error.Message);
                return ExitCodes.BadInput;
            }
        });
        return command;
    }
}
