using System.CommandLine;
using Vitro.Cli;
using Vitro.Cli.Run;

var root = new RootCommand("Vitro runs Hyper-V-compatible virtual machines on Linux.")
{
    RunCommand.Create(),
    InspectCommand.Create(),
    DoctorCommand.Create(),
};

return await root.Parse(args).InvokeAsync();
