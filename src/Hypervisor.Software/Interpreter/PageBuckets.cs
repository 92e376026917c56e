using System.Runtime.CompilerServices;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>
/// Where what begins at an address is in a hash table: a page shares a group of buckets, one for every 32 bytes. So code that follows other code is
/// looked up in memory that was touched for that.
/// </summary>
internal static class PageBuckets
{
    /// <summary>How many buckets a table has.</summary>
    public const int Count = 1 << (GroupBits + BucketBits);

    private const int GroupBits = 11;
    private const int BucketBits = 7;

    /// <summary>The bucket of an address, below <see cref="Count"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Of(ulong address) =>
        ((uint)(((address >> 12) * 0x9E37_79B9_7F4A_7C15) >> (64 - GroupBits)) << BucketBits) | ((uint)address >> 5 & ((1 << BucketBits) - 1));
}
