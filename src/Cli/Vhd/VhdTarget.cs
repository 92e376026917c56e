using System.CommandLine;
using Vitro.Storage;

namespace Vitro.Cli.Vhd;

/// <summary>The options that say what a new disk is to be; <c>new</c> and <c>convert</c> share them.</summary>
internal sealed class VhdTarget
{
    private readonly Option<DiskFormat?> _format = new("--format") { Description = "vhdx, vhd or raw; by default the file name's ending says." };
    private readonly Option<bool> _fixed = new("--fixed") { Description = "All space at creation, instead of when first written." };
    private readonly Option<bool> _sparse = new("--sparse") { Description = "Leave a fixed or raw file sparse." };
    private readonly Option<long> _blockSize = new("--block-size") { CustomParser = ByteSize.Parse, Description = "Bytes of a block: VHDX 1M to 256M, VHD 512K to 2M." };
    private readonly Option<bool> _overwrite = new("--overwrite") { Description = "Replace a file of that name." };

    internal void AddTo(Command command)
    {
        command.Add(_format);
        command.Add(_fixed);
        command.Add(_sparse);
        command.Add(_blockSize);
        command.Add(_overwrite);
    }

    internal DiskCreateOptions Read(ParseResult result, string path)
    {
        var format = result.GetValue(_format) ?? FormatOf(path);
        return new DiskCreateOptions
        {
            Format = format,
            Kind = format == DiskFormat.Raw || result.GetValue(_fixed) ? DiskKind.Fixed : DiskKind.Dynamic,
            Sparse = result.GetValue(_sparse) || (format == DiskFormat.Raw && !result.GetValue(_fixed)),
            BlockSize = (int)Math.Min(result.GetValue(_blockSize), int.MaxValue),
            Overwrite = result.GetValue(_overwrite),
        };
    }

    internal static DiskFormat FormatOf(string path) => Path.GetExtension(path).ToUpperInvariant() switch
    {
        ".VHD" or ".AVHD" => DiskFormat.Vhd,
        ".VHDX" or ".AVHDX" => DiskFormat.Vhdx,
        ".RAW" or ".IMG" or ".ISO" => DiskFormat.Raw,
        _ => throw new BlockIOException($"{path}: the name does not tell the format; say --format vhdx, vhd or raw."),
    };
}
