namespace Vitro.Storage;

/// <summary>Something wrong with a disk's file.</summary>
/// <param name="Structure">The structure in the format's own words.</param>
/// <param name="Offset">Where it is in the file, in bytes.</param>
/// <param name="Description">What is wrong.</param>
/// <param name="LosesContent">Content of the disk is affected, whether repaired or not.</param>
/// <param name="Repaired">The repair has mended it.</param>
public sealed record DiskProblem(string Structure, long Offset, string Description, bool LosesContent, bool Repaired);

/// <summary>What a check found.</summary>
/// <param name="Problems">What is wrong, or was before the repair.</param>
/// <param name="NeedsReplay">The disk was not closed cleanly; the next writer replays its log (VHDX) or puts its footers right (VHD).</param>
/// <param name="AllocatedBytes">Bytes of the file that blocks use.</param>
/// <param name="UnusedBytes">Bytes of the file that nothing uses; compacting gives them back.</param>
public sealed record DiskCheckReport(IReadOnlyList<DiskProblem> Problems, bool NeedsReplay, long AllocatedBytes, long UnusedBytes)
{
    /// <summary>No problem is left.</summary>
    public bool IsSound => Problems.All(problem => problem.Repaired);
}
