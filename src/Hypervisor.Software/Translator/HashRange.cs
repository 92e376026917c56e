using Vitro.Hypervisor.Software.Interpreter;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>
/// A range of the hashes of blocks, for finding the one whose translation is wrong by halving it. The hash is made of the block's bytes
/// alone, so that it is the same on every run, wherever the code lies; it says nothing of the mode.
/// </summary>
/// <param name="From">The first hash in the range.</param>
/// <param name="To">The last.</param>
internal readonly record struct HashRange(ushort From, ushort To)
{
    /// <summary>All blocks.</summary>
    public static HashRange All => new(0, ushort.MaxValue);

    /// <summary>Whether a block's hash is in the range.</summary>
    public unsafe bool Contains(CodeBlock* block)
    {
        if (From == 0 && To == ushort.MaxValue)
        {
            return true;
        }

        var hash = Add(2166136261, new ReadOnlySpan<byte>(CodeBlock.Bytes(block), block->Length));
        var folded = (ushort)(hash ^ (hash >> 16));
        return folded >= From && folded <= To;
    }

    // FNV-1a.
    private static uint Add(uint hash, ReadOnlySpan<byte> bytes)
    {
        foreach (var part in bytes)
        {
            hash = (hash ^ part) * 16777619;
        }

        return hash;
    }
}
