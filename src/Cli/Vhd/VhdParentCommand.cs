using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd parent</c>.</summary>
internal static class VhdParentCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("child") { Description = "A differencing disk." };
        var parent = new Argument<string>("parent") { Description = "Its parent." };
        var force = new Option<bool>("--force") { Description = "Take a parent with another identity; its content must be the right one." };
        var command = new Command("parent", "Tell a differencing disk where its parent is.") { path, parent, force };
        VhdConsole.Run(command, (result, _) =>
            DiskIdentity.SetParent(result.GetValue(path)!, result.GetValue(parent)!, result.GetValue(force), result.Opening()));
        return command;
    }
}
