using System.Numerics;
using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>Short forms the hot switch is written in: operands, TLB entries, flag records.</content>
internal sealed unsafe partial class InstructionInterpreter
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong* Reg(VpState* vp, DecodedInstruction* i) => (ulong*)vp + i->Reg;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong* Rm(VpState* vp, DecodedInstruction* i) => (ulong*)vp + i->Rm;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* Reg8(VpState* vp, DecodedInstruction* i) => (byte*)vp + i->RegOffset;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* Rm8(VpState* vp, DecodedInstruction* i) => (byte*)vp + i->RmOffset;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong AddressOfBase(VpState* vp, DecodedInstruction* i) => ((ulong*)vp)[i->Base] + (ulong)i->Displacement;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong AddressOfIndex(VpState* vp, DecodedInstruction* i) =>
        ((ulong*)vp)[i->Base] + (((ulong*)vp)[i->Index] << i->Scale) + (ulong)i->Displacement;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Address(VpState* vp, DecodedInstruction* i) =>
        (AddressOfIndex(vp, i) & i->AddressMask) + *(ulong*)((byte*)vp + i->SegmentBaseOffset);

    /// <summary>The inline TLB test: one compare finds misses and operands across a page border.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Load(VpState* vp, ulong linear, uint size, out byte* address)
    {
        var entry = vp->LoadTlb + ((linear >> 12) & (TlbEntry.SetSize - 1));
        var offset = linear - entry->Tag;
        address = (byte*)(entry->Host + offset);
        return offset <= PageSize - size;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Store(VpState* vp, ulong linear, uint size, out byte* address)
    {
        var entry = vp->StoreTlb + ((linear >> 12) & (TlbEntry.SetSize - 1));
        var offset = linear - entry->Tag;
        address = (byte*)(entry->Host + offset);
        return offset <= PageSize - size;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetLogicFlags(VpState* vp, ulong result)
    {
        vp->FlagResult = result;
        vp->FlagLeft = 0;
        vp->FlagOperation = LazyFlags.Result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetFlags(VpState* vp, uint operation, ulong left, ulong right, ulong result)
    {
        vp->FlagResult = result;
        vp->FlagLeft = left;
        vp->FlagRight = right;
        vp->FlagOperation = operation;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SetAddFlags64(VpState* vp, ulong left, ulong right)
    {
        var result = left + right;
        SetFlags(vp, LazyFlags.Add, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SetAddFlags32(VpState* vp, ulong left, ulong right)
    {
        var result = (ulong)(int)(left + right);
        SetFlags(vp, LazyFlags.Add, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SetSubtractFlags64(VpState* vp, ulong left, ulong right)
    {
        var result = left - right;
        SetFlags(vp, LazyFlags.Subtract, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SetSubtractFlags32(VpState* vp, ulong left, ulong right)
    {
        var result = (ulong)(int)(left - right);
        SetFlags(vp, LazyFlags.Subtract, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SetSubtractFlags8(VpState* vp, ulong left, ulong right)
    {
        var result = (ulong)(sbyte)(left - right);
        SetFlags(vp, LazyFlags.Subtract, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetSubtractFlags16(VpState* vp, ulong left, ulong right) =>
        SetFlags(vp, LazyFlags.Subtract, left, right, (ulong)(short)(left - right));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong TestFlags(VpState* vp, ulong result)
    {
        SetLogicFlags(vp, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong AddCarry64(VpState* vp, ulong left, ulong right)
    {
        var result = left + right + Carry(vp);
        SetFlags(vp, LazyFlags.AddCarry, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong SubtractBorrow64(VpState* vp, ulong left, ulong right)
    {
        var result = left - right - Carry(vp);
        SetFlags(vp, LazyFlags.SubtractBorrow, left, right, result);
        return result;
    }

    private static uint SubtractBorrow32(VpState* vp, ulong left, ulong right)
    {
        var result = (ulong)(int)(left - right - Carry(vp));
        SetFlags(vp, LazyFlags.SubtractBorrow, left, right, result);
        return (uint)result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong RotateLeft64(VpState* vp, ulong value, int count)
    {
        var result = BitOperations.RotateLeft(value, count);
        SetRotateFlagsLazily(vp, (uint)result & 1, ((uint)result ^ (uint)(result >> 63)) & 1);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint RotateLeft32(VpState* vp, uint value, int count)
    {
        var result = BitOperations.RotateLeft(value, count);
        SetRotateFlagsLazily(vp, result & 1, (result ^ (result >> 31)) & 1);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong RotateRight64(VpState* vp, ulong value, int count)
    {
        var result = BitOperations.RotateRight(value, count);
        SetRotateFlagsLazily(vp, (uint)(result >> 63), (uint)((result >> 63) ^ (result >> 62)) & 1);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint RotateRight32(VpState* vp, uint value, int count)
    {
        var result = BitOperations.RotateRight(value, count);
        SetRotateFlagsLazily(vp, result >> 31, ((result >> 31) ^ (result >> 30)) & 1);
        return result;
    }

    private static void Increment64(VpState* vp, byte* address)
    {
        SetIncrementFlags64(vp, *(ulong*)address + 1);
        *(ulong*)address += 1;
    }

    private static void Increment32(VpState* vp, byte* address)
    {
        SetIncrementFlags32(vp, (ulong)(*(int*)address + 1));
        *(uint*)address += 1;
    }

    private static void Decrement64(VpState* vp, byte* address)
    {
        SetDecrementFlags64(vp, *(ulong*)address - 1);
        *(ulong*)address -= 1;
    }

    private static void Decrement32(VpState* vp, byte* address)
    {
        SetDecrementFlags32(vp, (ulong)(*(int*)address - 1));
        *(uint*)address -= 1;
    }

    private static void SetIncrementFlags(VpState* vp, ulong result, ulong minimum)
    {
        var flags = LazyFlags.GetCarry(vp);
        flags |= (result & 15) == 0 ? LazyFlags.Adjust : 0;
        flags |= result == minimum ? LazyFlags.Overflow : 0;
        vp->FlagResult = result;
        vp->FlagLeft = flags;
        vp->FlagOperation = LazyFlags.Result;
    }

    private static void SetDecrementFlags(VpState* vp, ulong result, ulong maximum)
    {
        var flags = LazyFlags.GetCarry(vp);
        flags |= (result & 15) == 15 ? LazyFlags.Adjust : 0;
        flags |= result == maximum ? LazyFlags.Overflow : 0;
        vp->FlagResult = result;
        vp->FlagLeft = flags;
        vp->FlagOperation = LazyFlags.Result;
    }

    private static void SetIncrementFlags64(VpState* vp, ulong result) => SetIncrementFlags(vp, result, 1UL << 63);

    private static void SetIncrementFlags32(VpState* vp, ulong result) => SetIncrementFlags(vp, result, unchecked((ulong)int.MinValue));

    private static void SetDecrementFlags64(VpState* vp, ulong result) => SetDecrementFlags(vp, result, long.MaxValue);

    private static void SetDecrementFlags32(VpState* vp, ulong result) => SetDecrementFlags(vp, result, int.MaxValue);

    // OF of a left shift by one is the sign's change.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetShiftFlags(VpState* vp, ulong result, uint carry, ulong signed)
    {
        vp->FlagResult = result;
        vp->FlagLeft = carry | (((uint)(signed >> 63) ^ carry) << 11);
        vp->FlagOperation = LazyFlags.Result;
    }

    // OF of a logical right shift by one is the operand's sign.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetRightShiftFlags(VpState* vp, ulong result, uint carry, ulong left)
    {
        vp->FlagResult = result;
        vp->FlagLeft = carry | ((uint)(left >> 63) << 11);
        vp->FlagOperation = LazyFlags.Result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetArithmeticShiftFlags(VpState* vp, ulong result, uint carry)
    {
        vp->FlagResult = result;
        vp->FlagLeft = carry;
        vp->FlagOperation = LazyFlags.Result;
    }

    // CF and OF, which hardly anybody reads after IMUL, are left to whoever does.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong MultiplyFlags(VpState* vp, ulong left, ulong right)
    {
        var result = left * right;
        SetFlags(vp, LazyFlags.Multiply, left, right, result);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint MultiplyFlags32(VpState* vp, ulong left, ulong right)
    {
        var result = (ulong)(int)(left * right);
        SetFlags(vp, LazyFlags.Multiply, left, right, result);
        return (uint)result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetMultiplyFlags(VpState* vp, ulong result, bool overflow)
    {
        vp->FlagResult = result;
        vp->FlagLeft = overflow ? LazyFlags.Carry | LazyFlags.Overflow : 0;
        vp->FlagOperation = LazyFlags.Result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Carry(VpState* vp)
    {
        if (vp->FlagOperation != LazyFlags.AddCarry)
        {
            return LazyFlags.GetCarry(vp);
        }

        var left = vp->FlagLeft;
        var right = vp->FlagRight;
        return ((left & right) | ((left | right) & ~vp->FlagResult)) >> 63;
    }

    // CF and OF change, the others stay as they are, computed or not.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void SetRotateFlagsLazily(VpState* vp, uint carry, uint overflow)
    {
        var kept = vp->FlagOperation <= LazyFlags.Result
            ? vp->FlagLeft & ~(ulong)(LazyFlags.Carry | LazyFlags.Overflow)
            : (vp->FlagLeft ^ vp->FlagRight ^ vp->FlagResult) & LazyFlags.Adjust;
        vp->FlagLeft = kept | carry | (overflow << 11);
        if (vp->FlagOperation > LazyFlags.Result)
        {
            vp->FlagOperation = LazyFlags.Result;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong ShiftLeft(VpState* vp, ulong value, int count, int bits)
    {
        if (count == 0)
        {
            return value;
        }

        var result = value << count;
        var signed = bits == 64 ? result : (ulong)(int)result;
        SetShiftFlags(vp, signed, (uint)(value >> (bits - count)) & 1, signed);
        return bits == 64 ? result : (uint)result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong ShiftRight(VpState* vp, ulong value, int count, int bits)
    {
        if (count == 0)
        {
            return value;
        }

        var result = value >> count;
        SetRightShiftFlags(vp, bits == 64 ? result : (ulong)(int)result, (uint)(value >> (count - 1)) & 1, bits == 64 ? value : (ulong)(int)value);
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong ShiftRightSigned(VpState* vp, ulong value, int count)
    {
        var result = (ulong)((long)value >> count);
        SetArithmeticShiftFlags(vp, result, (uint)(value >> (count - 1)) & 1);
        return result;
    }
}
