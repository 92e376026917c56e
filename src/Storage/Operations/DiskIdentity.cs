using Vitro.Storage.Disks;
using Vitro.Storage.Vhd;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage;

/// <summary>Changes who a disk is and whose child it is.</summary>
public static class DiskIdentity
{
    /// <summary>Gives a disk a new identity, as a copy that is to live beside its original needs.</summary>
    /// <returns>The new identity.</returns>
    /// <exception cref="BlockIOException">The format has none, the disk is in use, or the file fails.</exception>
    public static Guid Renew(string path, DiskOpenOptions? options = null)
    {
        var identity = Guid.NewGuid();
        var disk = DiskFactory.Open(path, (options ?? new DiskOpenOptions()) with { ReadOnly = false, KeepDataIdentity = true });
        try
        {
            switch (disk)
            {
                case VhdxDisk vhdx:
                    vhdx.TakeIdentity(identity);
                    break;
                case VhdDisk vhd:
                    vhd.TakeIdentity(identity);
                    break;
                case FlatDisk { Format: DiskFormat.Vhd } flat:
                    flat.TakeIdentity(identity);
                    break;
                default:
                    throw new BlockIOException($"{path}: a raw file has no identity.");
            }

            return identity;
        }
        finally
        {
            disk.Close();
        }
    }

    /// <summary>Tells a differencing disk where its parent is, or that it has another.</summary>
    /// <param name="path">The child.</param>
    /// <param name="parentPath">The parent.</param>
    /// <param name="force">Takes a parent whose identity is not the one the child remembers. If its content is not either, neither is the child's.</param>
    /// <param name="options">How to open.</param>
    /// <exception cref="BlockIOException">The parent does not fit, a disk is in use, or a file fails.</exception>
    public static void SetParent(string path, string parentPath, bool force = false, DiskOpenOptions? options = null)
    {
        options ??= new DiskOpenOptions();
        var parent = DiskFactory.Open(parentPath, options with { ReadOnly = true });
        VirtualDisk child;
        try
        {
            child = DiskFactory.Open(path, options with
            {
                ReadOnly = false,
                AnyParent = parent,
                IgnoreParentIdentity = true,
                KeepDataIdentity = true,
            });
        }
        catch
        {
            parent.Close();
            throw;
        }

        try
        {
            switch (child, parent)
            {
                case (VhdxDisk { Kind: DiskKind.Differencing } vhdx, VhdxDisk above):
                    Check(force || vhdx.Metadata.ParentLocator!.Accepts(above.DataWriteGuid), path, parentPath);
                    vhdx.SetParentLocator(VhdxChain.LocatorFor(path, above));
                    break;
                case (VhdDisk { Kind: DiskKind.Differencing } vhd, { Format: DiskFormat.Vhd }):
                    Check(force || vhd.Header.ParentId == parent.Identity, path, parentPath);
                    vhd.SetParent(parent, VhdChain.TimeStampOf(parentPath));
                    break;
                default:
                    throw new BlockIOException($"{path}: it is not a differencing disk of its parent's format.");
            }
        }
        finally
        {
            child.Close(); // and the parent with it
            parent.Close();
        }
    }

    private static void Check(bool fits, string path, string parentPath)
    {
        if (!fits)
        {
            throw new BlockIOException(
                $"{parentPath} is not the disk that {path} was made over, or has changed since. Use --force if its content is the same.");
        }
    }
}
