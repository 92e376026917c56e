namespace Vitro.Storage;

/// <summary>A disk file breaks its format; the message names the structure, its offset, what is wrong, and what helps.</summary>
public sealed class DiskDamagedException : BlockIOException
{
    /// <summary>Makes the error.</summary>
    /// <param name="path">The file.</param>
    /// <param name="structure">The structure in the format's own words.</param>
    /// <param name="offset">Where it starts in the file, in bytes.</param>
    /// <param name="problem">What is wrong, as a clause.</param>
    /// <param name="cure">What the user can do; null suggests the check with repair.</param>
    public DiskDamagedException(string path, string structure, long offset, string problem, string? cure = null)
        : base($"{path}: {structure} at offset {offset}: {problem}. {cure ?? $"See what is left with `vitro vhd check {path}`, repair with `vitro vhd check --repair {path}`."}")
    {
        Structure = structure;
        Offset = offset;
        Problem = problem;
    }

    /// <summary>The structure in the format's own words.</summary>
    public string Structure { get; }

    /// <summary>Where it starts in the file, in bytes.</summary>
    public long Offset { get; }

    /// <summary>What is wrong, as a clause.</summary>
    public string Problem { get; }
}
