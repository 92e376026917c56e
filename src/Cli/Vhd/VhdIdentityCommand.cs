using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd identity</c>.</summary>
internal static class VhdIdentityCommand
{
    internal static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The disk." };
        var command = new Command("identity", "Give a disk a new identity, for a copy that lives beside its original.") { path };
        VhdConsole.Run(command, (result, _) => Console.Out.WriteLine(DiskIdentity.Renew(result.GetValue(path)!, result.Opening())));
        return command;
    }
}
