using System.CommandLine;

namespace Vitro.Cli.Vhd;

/// <summary><c>vitro vhd</c>: virtual hard disks without a virtual machine.</summary>
internal static class VhdCommand
{
    internal static Command Create() => new("vhd", "Make, show, convert and repair virtual hard disks (VHD, VHDX, raw).")
    {
        VhdNewCommand.Create(),
        VhdInfoCommand.Create(),
        VhdConvertCommand.Create(),
        VhdCopyCommand.Create(),
        VhdResizeCommand.Create(),
        VhdCompactCommand.Create(),
        VhdMergeCommand.Create(),
        VhdParentCommand.Create(),
        VhdIdentityCommand.Create(),
        VhdCheckCommand.Create(),
        VhdCompareCommand.Create(),
        VhdMapCommand.Create(),
        VhdMountCommand.Create(),
        WindowsFolders.Option,
    };
}
