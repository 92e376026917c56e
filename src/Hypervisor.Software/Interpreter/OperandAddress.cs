using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Vitro.Hypervisor.Software.Decoding;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <summary>Effective and linear addresses of memory operands, with the segment checks of every mode.</summary>
/// <remarks>Valid while VpState.Rip is the instruction's start, as it is outside the interpreter's hot switch.</remarks>
internal static unsafe class OperandAddress
{
    private const uint Unusable = 1 << 16;
    private const uint Executable = 8;
    private const uint ExpandDown = 4;
    private const uint WritableOrReadable = 2;
    private const uint Big = 1 << 14;

    /// <summary>The offset in the segment, truncated to the address size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Effective(VpState* vp, DecodedInstruction* instruction)
    {
        var registers = (ulong*)vp;
        var address = registers[instruction->Base] + (registers[instruction->Index] << instruction->Scale) + (ulong)instruction->Displacement;
        if (instruction->Base == DecodedInstruction.RipBase)
        {
            address -= instruction->Offset;
        }

        return address & instruction->AddressMask;
    }

    /// <summary>The linear address of an instruction's memory operand; false after raising #GP or #SS.</summary>
    public static bool TryGetLinear(VpState* vp, DecodedInstruction* instruction, int size, bool isStore, out ulong linear) =>
        TryGetLinear(vp, instruction->Segment, Effective(vp, instruction), size, isStore, out linear);

    /// <summary>The linear address of an offset in a segment; false after raising #GP or #SS.</summary>
    /// <remarks>Canonical form is left to the Mmu, which raises #GP: see <see cref="Fault.AsStackAccess"/>.</remarks>
    public static bool TryGetLinear(VpState* vp, int segment, ulong offset, int size, bool isStore, out ulong linear)
    {
        var mode = (VpMode)vp->Mode;
        var cache = Segment(vp, segment);
        if ((mode & VpMode.Code64) != 0)
        {
            linear = segment >= 4 ? offset + cache->Base : offset;
            return true;
        }

        linear = (uint)(cache->Base + offset);
        if ((mode & VpMode.FlatSegments) != 0 && segment < 4)
        {
            return true;
        }

        if (IsAllowed(cache, mode, (uint)offset, (uint)size, isStore))
        {
            return true;
        }

        return segment == 2 ? Fault.Stack(vp) : Fault.Protection(vp);
    }

    /// <summary>The segment register with a number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static SegmentCache* Segment(VpState* vp, int number) => &vp->Es + number;

    private static bool IsAllowed(SegmentCache* cache, VpMode mode, uint offset, uint size, bool isStore)
    {
        var attributes = cache->Attributes;
        var last = (ulong)offset + size - 1;
        if ((mode & VpMode.Protected) != 0 && (mode & VpMode.Virtual8086) == 0)
        {
            if ((attributes & Unusable) != 0)
            {
                return false;
            }

            if ((attributes & Executable) != 0)
            {
                if (isStore || (attributes & WritableOrReadable) == 0)
                {
                    return false;
                }
            }
            else
            {
                if (isStore && (attributes & WritableOrReadable) == 0)
                {
                    return false;
                }

                if ((attributes & ExpandDown) != 0)
                {
                    return offset > cache->Limit && last <= ((attributes & Big) != 0 ? uint.MaxValue : 0xFFFF);
                }
            }
        }

        return last <= cache->Limit;
    }
}
