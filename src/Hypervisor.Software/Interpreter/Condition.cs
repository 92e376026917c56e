using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>The sixteen condition codes over the lazy flags; comparisons are answered from their operands.</summary>
internal static unsafe class Condition
{
    /// <summary>Whether the condition in the low four bits holds.</summary>
    public static bool Test(VpState* vp, int code)
    {
        var holds = ((code >> 1) & 7) switch
        {
            0 => IsOverflow(vp),
            1 => IsBelow(vp),
            2 => IsEqual(vp),
            3 => IsBelowOrEqual(vp),
            4 => IsSign(vp),
            5 => IsParity(vp),
            6 => IsLess(vp),
            _ => IsLessOrEqual(vp),
        };
        return holds ^ ((code & 1) != 0);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsOverflow(VpState* vp) => (LazyFlags.Get(vp) & LazyFlags.Overflow) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsBelow(VpState* vp) =>
        vp->FlagOperation == LazyFlags.Subtract ? vp->FlagLeft < vp->FlagRight : LazyFlags.GetCarry(vp) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsEqual(VpState* vp) =>
        vp->FlagOperation != LazyFlags.Explicit ? vp->FlagResult == 0 : (vp->FlagLeft & LazyFlags.Zero) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsBelowOrEqual(VpState* vp) =>
        vp->FlagOperation == LazyFlags.Subtract ? vp->FlagLeft <= vp->FlagRight : IsBelowOrEqualSlow(vp);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsSign(VpState* vp) =>
        vp->FlagOperation != LazyFlags.Explicit ? (long)vp->FlagResult < 0 : (vp->FlagLeft & LazyFlags.Sign) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsParity(VpState* vp) => (LazyFlags.Get(vp) & LazyFlags.Parity) != 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsLess(VpState* vp) =>
        vp->FlagOperation == LazyFlags.Subtract ? (long)vp->FlagLeft < (long)vp->FlagRight : IsLessSlow(vp);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsLessOrEqual(VpState* vp) =>
        vp->FlagOperation == LazyFlags.Subtract ? (long)vp->FlagLeft <= (long)vp->FlagRight : IsLessOrEqualSlow(vp);

    private static bool IsBelowOrEqualSlow(VpState* vp) => (LazyFlags.Get(vp) & (LazyFlags.Carry | LazyFlags.Zero)) != 0;

    private static bool IsLessSlow(VpState* vp)
    {
        if (vp->FlagOperation == LazyFlags.Result && vp->FlagLeft == 0)
        {
            return (long)vp->FlagResult < 0;
        }

        var flags = LazyFlags.Get(vp);
        return ((flags & LazyFlags.Sign) != 0) != ((flags & LazyFlags.Overflow) != 0);
    }

    private static bool IsLessOrEqualSlow(VpState* vp)
    {
        if (vp->FlagOperation == LazyFlags.Result && vp->FlagLeft == 0)
        {
            return (long)vp->FlagResult <= 0;
        }

        return IsLessSlow(vp) || IsEqual(vp);
    }
}
