using Vitro.Storage.Files;
using Vitro.Storage.Sparse;
using Vitro.Storage.Vhd;

namespace Vitro.Storage.Operations;

/// <summary>Checks a VHD file from its footer to its last block.</summary>
internal sealed class VhdCheck(IDiskFile file, bool repair, IProgress<DiskProgress>? progress, CancellationToken cancellation)
{
    private readonly List<DiskProblem> _problems = [];

    internal DiskCheckReport Run()
    {
        try
        {
            if (VhdDisk.Open(new BorrowedFile(file), _ => null) is not VhdDisk disk)
            {
                return new DiskCheckReport(_problems, NeedsReplay: false, file.Length - VhdFooter.Size, 0);
            }

            var unclean = CheckFooters(disk);
            var (allocated, unused) = CheckTable(disk);
            disk.Close();
            return new DiskCheckReport(_problems, unclean, allocated, unused);
        }
        catch (DiskDamagedException error)
        {
            _problems.Add(new DiskProblem(error.Structure, error.Offset, error.Problem, LosesContent: true, Repaired: false));
            return new DiskCheckReport(_problems, NeedsReplay: false, 0, 0);
        }
    }

    // A lost end, or a copy that is sound but older, is what a crash leaves and the next writer puts right; a damaged copy is not.
    private bool CheckFooters(VhdDisk disk)
    {
        var copy = new byte[VhdFooter.Size];
        _ = file.Read(0, copy);
        var copyIsSound = VhdFooter.TryRead(copy, out _, out var problem);
        if (!copyIsSound)
        {
            Add("VHD footer copy", 0, problem, losesContent: false);
        }

        var unclean = !disk.FooterWasAtEnd || !disk.CopyMatches();
        if (repair && unclean)
        {
            disk.RestoreFooters();
        }

        return unclean && copyIsSound && !repair;
    }

    private (long Allocated, long Unused) CheckTable(VhdDisk disk)
    {
        var extents = new List<UsedExtent>();
        var bad = new List<long>();
        long allocated = 0;
        var meter = new WorkMeter(disk.Table.Entries * sizeof(uint), progress, cancellation);
        foreach (var extent in disk.UsedExtents().OrderBy(extent => extent.Offset))
        {
            meter.Reached(extents.Count * sizeof(uint));
            if (extent.Owner >= 0 && extent.End > file.Length)
            {
                bad.Add(extent.Owner);
                AddEntry(disk, extent.Owner, $"it points to {extent.Length} bytes at {extent.Offset}, outside the file");
                continue;
            }

            extents.Add(extent);
            allocated += extent.Owner >= 0 ? extent.Length : 0;
        }

        long end = 0;
        long used = 0;
        foreach (var extent in extents)
        {
            if (extent.Offset < end && extent.Owner >= 0)
            {
                bad.Add(extent.Owner);
                AddEntry(disk, extent.Owner, $"its block at {extent.Offset} overlaps what ends at {end}");
            }

            used += Math.Max(0, extent.End - Math.Max(end, extent.Offset));
            end = Math.Max(end, extent.End);
        }

        if (repair && bad.Count > 0)
        {
            disk.DropEntries(bad);
        }

        meter.Finish();
        return (allocated, Math.Max(0, file.Length - VhdFooter.Size - used));
    }

    private void AddEntry(VhdDisk disk, long block, string problem) =>
        Add($"VHD block allocation table, entry {block}", disk.Table.OffsetOf(block), problem, losesContent: true);

    private void Add(string structure, long offset, string problem, bool losesContent) =>
        _problems.Add(new DiskProblem(structure, offset, problem, losesContent, Repaired: repair));
}
