using System.Numerics;
using System.Text;
using Vitro.Storage.Disks;
using Vitro.Storage.Files;

namespace Vitro.Storage.Vhd;

/// <summary>Lays out new VHD files.</summary>
internal static class VhdCreator
{
    private const int LocatorsOffset = VhdFooter.Size + VhdDynamicHeader.Size;

    internal static DiskCreateOptions Validate(string path, DiskCreateOptions options)
    {
        var blockSize = options.BlockSize == 0 ? VhdLayout.DefaultBlockSize : options.BlockSize;
        if (blockSize is < VhdLayout.SmallBlockSize or > VhdLayout.DefaultBlockSize || !BitOperations.IsPow2(blockSize))
        {
            throw new BlockIOException($"{path}: a VHD block size is 512 KiB, 1 MiB or 2 MiB, not {blockSize}.");
        }

        if (options.LogicalSectorSize != VhdLayout.SectorSize)
        {
            throw new BlockIOException($"{path}: a VHD has sectors of 512 bytes. Use VHDX for 4096.");
        }

        return options.Length is > 0 and <= VhdLayout.MaximumDiskSize && options.Length % VhdLayout.SectorSize == 0
            ? options with { BlockSize = blockSize }
            : throw new BlockIOException(
                $"{path}: a VHD has whole sectors and at most 2040 GiB; {options.Length} bytes are not allowed. Use VHDX for more.");
    }

    internal static void Create(IDiskFile file, DiskCreateOptions options, VirtualDisk? parent, uint parentTimeStamp)
    {
        var id = options.Identity ?? Guid.NewGuid();
        if (options.Kind == DiskKind.Fixed)
        {
            file.SetLength(options.Length);
            if (!options.Sparse)
            {
                file.Reserve(0, options.Length);
            }

            file.Write(options.Length, VhdFooter.For(options.Length, VhdDiskType.Fixed, id).Build());
            file.Flush();
            return;
        }

        var footer = VhdFooter.For(options.Length, parent is null ? VhdDiskType.Dynamic : VhdDiskType.Differencing, id).Build();
        var entries = (int)((options.Length + options.BlockSize - 1) / options.BlockSize);
        var header = new VhdDynamicHeader { TableOffset = LocatorsOffset, TableEntries = entries, BlockSize = options.BlockSize };
        if (parent is not null)
        {
            header = WithParent(file, header, LocatorsOffset, file.Path, parent, parentTimeStamp);
        }

        var table = new byte[VhdLayout.AlignUp(entries * sizeof(uint))];
        table.AsSpan().Fill(0xFF);
        file.Write(0, footer);
        file.Write(VhdFooter.Size, header.Build());
        file.Write(header.TableOffset, table);
        file.Write(header.TableOffset + table.Length, footer);
        file.Flush();
    }

    /// <summary>Writes the parent's names at a place with room for them and returns the header that names them, the table behind them.</summary>
    internal static VhdDynamicHeader WithParent(
        IDiskFile file, VhdDynamicHeader header, long offset, string childPath, VirtualDisk parent, uint parentTimeStamp)
    {
        var relative = Encoding.Unicode.GetBytes(ParentPaths.ToRelative(childPath, parent.Path));
        var absolute = Encoding.Unicode.GetBytes(ParentPaths.ToAbsolute(parent.Path));
        var relativeSpace = VhdLayout.AlignUp(relative.Length);
        var absoluteSpace = VhdLayout.AlignUp(absolute.Length);
        var room = new byte[relativeSpace + absoluteSpace];
        relative.CopyTo(room, 0);
        absolute.CopyTo(room, relativeSpace);
        file.Write(offset, room);
        return header with
        {
            TableOffset = offset + room.Length,
            ParentId = parent.Identity,
            ParentTimeStamp = parentTimeStamp,
            ParentName = Path.GetFileName(parent.Path),
            Locators =
            [
                new VhdLocator(VhdLocator.Relative, (uint)relativeSpace, (uint)relative.Length, offset),
                new VhdLocator(VhdLocator.Absolute, (uint)absoluteSpace, (uint)absolute.Length, offset + relativeSpace),
            ],
        };
    }
}
