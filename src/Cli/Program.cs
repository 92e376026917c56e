using System.CommandLine;
using Vitro.Cli;
using Vitro.Cli.Run;
using Vitro.Cli.Vhd;

var root = new RootCommand("Vitro runs Hyper-V-compatible virtual machines on Linux.")
{
    RunCommand.Create(),
    InspectCommand.Create(),
    DoctorCommand.Create(),
    VhdCommand.Create(),
};

return await root.Parse(args).InvokeAsync();
