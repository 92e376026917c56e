namespace Vitro.Storage.Vhdx;

/// <summary>States of a payload block or, the last two of them, of a sector bitmap block ([MS-VHDX] 2.5.1).</summary>
internal enum BatState
{
    NotPresent = 0,
    Undefined = 1,
    Zero = 2,
    Unmapped = 3,
    FullyPresent = 6,
    PartiallyPresent = 7,
}

/// <summary>An entry of the block allocation table: a state in the low bits and the file offset in megabytes above bit 20.</summary>
internal readonly record struct BatEntry(ulong Value)
{
    private const ulong OffsetMask = ~0xFFFFFUL;

    internal BatEntry(BatState state, long fileOffset)
        : this((ulong)fileOffset | (ulong)state)
    {
    }

    internal BatState State => (BatState)(Value & 7);

    internal long FileOffset => (long)(Value & OffsetMask);
}
