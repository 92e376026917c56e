using Vitro.Storage.Files;
using Vitro.Storage.Sparse;
using Vitro.Storage.Vhdx;

namespace Vitro.Storage.Operations;

/// <summary>Checks a VHDX file from its headers to its last block.</summary>
internal sealed class VhdxCheck(IDiskFile file, bool repair, IProgress<DiskProgress>? progress, CancellationToken cancellation)
{
    private readonly List<DiskProblem> _problems = [];

    internal DiskCheckReport Run()
    {
        try
        {
            var headers = HeaderPair.Read(file);
            var needsReplay = headers.Current.LogGuid != Guid.Empty;
            if (headers.OtherProblem.Length > 0)
            {
                var other = headers.CurrentOffset == VhdxLayout.FirstHeaderOffset ? VhdxLayout.SecondHeaderOffset : VhdxLayout.FirstHeaderOffset;
                Add("VHDX header", other, headers.OtherProblem, losesContent: false, () => headers.Update(headers.Current));
            }

            needsReplay |= CheckRegionTables();
            CheckLog(headers);
            var disk = VhdxDisk.Open(new BorrowedFile(file), (_, _) => null);
            var (allocated, unused) = CheckTable(disk);
            if (repair)
            {
                disk.Close();
            }

            return new DiskCheckReport(_problems, needsReplay && !repair, allocated, unused);
        }
        catch (DiskDamagedException error)
        {
            _problems.Add(new DiskProblem(error.Structure, error.Offset, error.Problem, LosesContent: true, Repaired: false));
            return new DiskCheckReport(_problems, NeedsReplay: false, 0, 0);
        }
    }

    // Two sound copies that differ are what a crash in the middle of moving a region leaves; the next writer makes them equal.
    private bool CheckRegionTables()
    {
        var sound = RegionTable.Read(file);
        var buffer = new byte[RegionTable.Size];
        foreach (var offset in new[] { VhdxLayout.FirstRegionTableOffset, VhdxLayout.SecondRegionTableOffset })
        {
            Array.Clear(buffer);
            _ = file.Read(offset, buffer);
            if (!RegionTable.TryRead(buffer, out _, out var problem))
            {
                Add("VHDX region table", offset, problem, losesContent: false, () => sound.Store(file));
            }
        }

        var unclean = sound.SecondCopyIsOlder(file);
        if (unclean && repair)
        {
            sound.Store(file);
        }

        return unclean;
    }

    private void CheckLog(HeaderPair headers)
    {
        if (headers.Current.LogGuid == Guid.Empty)
        {
            return;
        }

        try
        {
            _ = LogReplay.Find(file, headers.Current);
        }
        catch (DiskDamagedException error)
        {
            Add(
                error.Structure, error.Offset, error.Problem + "; the last changes before the crash may be lost", losesContent: true,
                () => headers.Update(headers.Current with { LogGuid = Guid.Empty }));
            if (!repair)
            {
                throw;
            }
        }
    }

    private (long Allocated, long Unused) CheckTable(VhdxDisk disk)
    {
        var length = disk.DataFile.Length;
        var extents = new List<UsedExtent>(disk.StructureExtents());
        var bad = new List<long>();
        long allocated = 0;
        var meter = new WorkMeter(disk.Geometry.Entries * sizeof(ulong), progress, cancellation);
        for (long index = 0; index < disk.Geometry.Entries; index++)
        {
            meter.Reached(index * sizeof(ulong));
            if (disk.TryUsedExtent(index, out var extent))
            {
                if (extent.Offset < VhdxLayout.Megabyte || extent.End > length)
                {
                    bad.Add(index);
                    AddEntry(disk, index, $"it points to {extent.Length} bytes at {extent.Offset}, outside the file");
                }
                else
                {
                    extents.Add(extent);
                    allocated += extent.Length;
                }
            }

            var state = disk.Bat[index].State;
            var isBitmap = index % (disk.Geometry.ChunkRatio + 1L) == disk.Geometry.ChunkRatio;
            if ((int)state is 4 or 5 || (state == BatState.PartiallyPresent && (isBitmap || !disk.Metadata.HasParent)))
            {
                bad.Add(index);
                AddEntry(disk, index, $"the state {(int)state} is not allowed");
            }
        }

        extents.Sort((one, two) => one.Offset.CompareTo(two.Offset));
        long used = 0;
        long end = 0;
        UsedExtent last = default;
        foreach (var extent in extents)
        {
            if (extent.Offset < end && extent.Length > 0)
            {
                var loser = extent.Owner >= 0 ? extent.Owner : last.Owner;
                if (loser >= 0)
                {
                    bad.Add(loser);
                    AddEntry(disk, loser, $"its block at {extent.Offset} overlaps what ends at {end}");
                }
            }

            used += Math.Max(0, extent.End - Math.Max(end, extent.Offset));
            (end, last) = extent.End > end ? (extent.End, extent) : (end, last);
        }

        if (repair && bad.Count > 0)
        {
            disk.DropEntries(bad);
        }

        meter.Finish();
        return (allocated, Math.Max(0, length - used));
    }

    private void AddEntry(VhdxDisk disk, long index, string problem) => _problems.Add(new DiskProblem(
        $"VHDX block allocation table, entry {index}", disk.Bat.OffsetOf(index), problem, LosesContent: true, Repaired: repair));

    private void Add(string structure, long offset, string problem, bool losesContent, Action mend)
    {
        if (repair)
        {
            mend();
        }

        _problems.Add(new DiskProblem(structure, offset, problem, losesContent, Repaired: repair));
    }
}
