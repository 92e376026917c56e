using Vitro.Configuration;
using Vitro.Storage;

namespace Vitro.WorkerProcess;

/// <summary>Opens the disks of a definition.</summary>
internal static class DiskFiles
{
    internal static VirtualDisk Open(DiskDefinition disk)
    {
        try
        {
            return DiskFactory.Open(disk.Path, new DiskOpenOptions { ReadOnly = disk.ReadOnly });
        }
        catch (BlockIOException error)
        {
            throw new DefinitionException("--disk", error.Message);
        }
    }
}
