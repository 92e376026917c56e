namespace Vitro.Hypervisor.Engine;

/// <summary>The four registers of a CPUID leaf.</summary>
public readonly record struct CpuidResult(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>CPUID as a table of leaf and subleaf. A leaf without its asked subleaf gives zeros.</summary>
/// <remarks>Filled while a machine is built, read-only once a partition uses it.</remarks>
public sealed partial class CpuidTable
{
    private readonly Dictionary<(uint Leaf, uint Subleaf), CpuidResult> _leaves = [];

    /// <summary>Marks a leaf as one whose result does not depend on ECX.</summary>
    public const uint AnySubleaf = uint.MaxValue;

    /// <summary>All entries.</summary>
    public IEnumerable<KeyValuePair<(uint Leaf, uint Subleaf), CpuidResult>> Entries => _leaves;

    /// <summary>Gets or sets a result; unknown ones are zero.</summary>
    public CpuidResult this[uint leaf, uint subleaf = AnySubleaf]
    {
        get => _leaves.TryGetValue((leaf, subleaf), out var exact)
            ? exact
            : _leaves.GetValueOrDefault((leaf, AnySubleaf));
        set => _leaves[(leaf, subleaf)] = value;
    }

    /// <summary>A copy to change.</summary>
    public CpuidTable Clone()
    {
        var copy = new CpuidTable();
        foreach (var (key, value) in _leaves)
        {
            copy._leaves[key] = value;
        }

        return copy;
    }
}
