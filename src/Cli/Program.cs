using System.CommandLine;
using Vitro.Cli;
using Vitro.Cli.Run;
using Vitro.Cli.Vhd;

var root = new RootCommand("Vitro runs Hyper-V-compatible virtual machines on Linux.")
{
    RunCommand.Create(),
    SaveCommand.Create(),
    InspectCommand.Create(),
    DoctorCommand.Create(),
    VhdCommand.Create(),
};

// A machine that is asked to end by a signal shuts its guest down first; the default of two seconds would cut that short.
var command = root.Parse(args);
var code = await command.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromSeconds(90) });
return command.Errors.Count > 0 ? ExitCodes.BadInput : code;
