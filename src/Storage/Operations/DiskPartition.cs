using Vitro.Storage.Operations;

namespace Vitro.Storage;

/// <summary>A partition as a disk's MBR or GPT lists it.</summary>
/// <param name="Number">From 1, its place in the table.</param>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Type">The MBR's type byte or the GPT's type identifier.</param>
public readonly record struct DiskPartition(int Number, long Offset, long Length, string Type)
{
    /// <summary>The partitions of a disk, none when it has no table.</summary>
    /// <exception cref="BlockIOException">The disk cannot be read.</exception>
    public static IReadOnlyList<DiskPartition> List(VirtualDisk disk)
    {
        ArgumentNullException.ThrowIfNull(disk);
        return PartitionTable.Read(disk);
    }

    /// <summary>One partition by its number.</summary>
    /// <exception cref="BlockIOException">There is none of that number, or it is not inside the disk.</exception>
    public static DiskPartition Find(VirtualDisk disk, int number)
    {
        foreach (var partition in List(disk))
        {
            if (partition.Number == number && partition.Offset + partition.Length <= disk.Length)
            {
                return partition;
            }
        }

        throw new BlockIOException($"{disk.Path}: the disk has no partition {number}.");
    }
}
