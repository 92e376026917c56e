namespace Vitro.Storage.Sparse;

/// <summary>A part of a disk's file that is in use.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Owner">The table entry that points to it, or -1 for a structure that stays where it is.</param>
internal readonly record struct UsedExtent(long Offset, long Length, long Owner)
{
    internal long End => Offset + Length;
}
