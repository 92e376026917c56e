using System.Runtime.CompilerServices;

namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>
/// The arithmetic flags, computed when somebody looks. Operands and results are kept sign-extended to 64 bits: unsigned
/// order, signs and the low byte survive that, so that no formula needs the operand size.
/// </summary>
internal static unsafe class LazyFlags
{
    public const uint Carry = 1;
    public const uint Parity = 4;
    public const uint Adjust = 0x10;
    public const uint Zero = 0x40;
    public const uint Sign = 0x80;
    public const uint Overflow = 0x800;

    /// <summary>CF, PF, AF, ZF, SF, OF.</summary>
    public const uint All = 0x8D5;

    /// <summary>FlagLeft holds the flags themselves, as in RFLAGS.</summary>
    public const uint Explicit = 0;

    /// <summary>ZF, SF, PF by FlagResult; CF, AF, OF in FlagLeft as in RFLAGS.</summary>
    public const uint Result = 1;

    /// <summary>An addition.</summary>
    public const uint Add = 2;

    /// <summary>A subtraction or comparison.</summary>
    public const uint Subtract = 3;

    /// <summary>An addition with carry in.</summary>
    public const uint AddCarry = 4;

    /// <summary>A subtraction with borrow in.</summary>
    public const uint SubtractBorrow = 5;

    /// <summary>A signed multiplication: CF and OF tell that the result lost bits of the product.</summary>
    public const uint Multiply = 6;

    /// <summary>Sets all six flags.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(VpState* vp, uint flags)
    {
        vp->FlagLeft = flags & All;
        vp->FlagOperation = Explicit;
    }

    /// <summary>The six flags as in RFLAGS.</summary>
    public static uint Get(VpState* vp)
    {
        if (vp->FlagOperation == Explicit)
        {
            return (uint)vp->FlagLeft;
        }

        var result = vp->FlagResult;
        var flags = result == 0 ? Zero : 0;
        flags |= (uint)(result >> 56) & Sign;
        flags |= ParityOf(result);
        if (vp->FlagOperation == Result)
        {
            return flags | (uint)vp->FlagLeft;
        }

        if (vp->FlagOperation == Multiply)
        {
            return flags | (HasLostBits(vp) ? Carry | Overflow : 0);
        }

        var left = vp->FlagLeft;
        var right = vp->FlagRight;
        flags |= (uint)(left ^ right ^ result) & Adjust;
        switch (vp->FlagOperation)
        {
            case Add:
                flags |= result < left ? Carry : 0;
                flags |= (uint)(((left ^ result) & (right ^ result)) >> 63) << 11;
                break;
            case Subtract:
                flags |= left < right ? Carry : 0;
                flags |= (uint)(((left ^ right) & (left ^ result)) >> 63) << 11;
                break;
            case AddCarry:
                flags |= (uint)(((left & right) | ((left | right) & ~result)) >> 63);
                flags |= (uint)(((left ^ result) & (right ^ result)) >> 63) << 11;
                break;
            default:
                flags |= (uint)(((~left & right) | ((~left | right) & result)) >> 63);
                flags |= (uint)(((left ^ right) & (left ^ result)) >> 63) << 11;
                break;
        }

        return flags;
    }

    /// <summary>CF, 0 or 1.</summary>
    public static uint GetCarry(VpState* vp)
    {
        var left = vp->FlagLeft;
        var right = vp->FlagRight;
        return vp->FlagOperation switch
        {
            Explicit or Result => (uint)left & Carry,
            Add => vp->FlagResult < left ? 1u : 0,
            Subtract => left < right ? 1u : 0,
            Multiply => HasLostBits(vp) ? 1u : 0,
            AddCarry => (uint)(((left & right) | ((left | right) & ~vp->FlagResult)) >> 63),
            _ => (uint)(((~left & right) | ((~left | right) & vp->FlagResult)) >> 63),
        };
    }

    private static bool HasLostBits(VpState* vp)
    {
        var high = Math.BigMul((long)vp->FlagLeft, (long)vp->FlagRight, out var low);
        return low != (long)vp->FlagResult || high != low >> 63;
    }

    /// <summary>PF of a result: set when its low byte has an even number of ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint ParityOf(ulong result) => ~(uint)System.Numerics.BitOperations.PopCount(result & 0xFF) << 2 & Parity;

    /// <summary>All of RFLAGS.</summary>
    public static ulong GetRflags(VpState* vp) => vp->SystemFlags | 2 | Get(vp);

    /// <summary>Replaces all of RFLAGS; the caller recomputes the mode when VM or TF changed.</summary>
    public static void SetRflags(VpState* vp, ulong value)
    {
        Set(vp, (uint)value);
        vp->SystemFlags = ((uint)value & ~All) | 2;
    }
}
