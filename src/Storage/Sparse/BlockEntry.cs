namespace Vitro.Storage.Sparse;

/// <summary>Where a block's content is.</summary>
internal enum BlockState
{
    /// <summary>Nowhere in this layer.</summary>
    Absent,

    /// <summary>It is zero, by record, also over a parent.</summary>
    Zero,

    /// <summary>Wholly in this file.</summary>
    Present,

    /// <summary>In this file for the sectors whose bit is set, elsewhere for the others.</summary>
    Partial,
}

/// <summary>A block's state and the place of its first byte in the file (for present and partial blocks).</summary>
internal readonly record struct BlockEntry(BlockState State, long FileOffset);
