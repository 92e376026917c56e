using System.CommandLine;
using System.CommandLine.Parsing;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary><c>--windows-path</c>: where the folders of a Windows host are here, for disks whose parents are remembered by them.</summary>
internal static class WindowsFolders
{
    /// <summary>The option, of every command below the one that has it.</summary>
    internal static Option<Dictionary<string, string>> Option { get; } = new("--windows-path")
    {
        Description = @"Where a Windows folder is here, such as D:\Disks=/srv/disks; finds parents. Can be given again.",
        CustomParser = Parse,
        Recursive = true,
    };

    /// <summary>How a command opens disks.</summary>
    internal static DiskOpenOptions Opening(this ParseResult result, bool readOnly = false, bool unlocked = false) => new()
    {
        ReadOnly = readOnly,
        Locking = unlocked ? DiskLocking.None : DiskLocking.Normal,
        WindowsPaths = result.GetValue(Option) ?? [],
    };

    private static Dictionary<string, string>? Parse(ArgumentResult argument)
    {
        var folders = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var token in argument.Tokens)
        {
            var parts = token.Value.Split('=', 2);
            if (parts.Length != 2 || parts[0].Length == 0 || parts[1].Length == 0)
            {
                argument.AddError($@"{token.Value}: say a Windows folder and where it is here, such as D:\Disks=/srv/disks.");
                return null;
            }

            folders[parts[0]] = parts[1];
        }

        return folders;
    }
}
