using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Interpreter;

/// <content>
/// The hot switch's way into the thunks of XMM instructions. False sends the instruction to the vector unit, with nothing
/// changed but perhaps flags in MXCSR that it raises again: not compiled yet, not available, not in the TLB, faulted.
/// </content>
internal sealed unsafe partial class InstructionInterpreter
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool VectorRegister(VpState* vp, DecodedInstruction* i)
    {
        var thunk = (Thunk*)i->Link;
        if (thunk == null || (vp->Mode & (uint)VpMode.FpuTrap) != 0)
        {
            return false;
        }

        return RunThunk(vp, i, thunk, Slot(vp, thunk->Form.Rm, i->Rm));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool VectorMemory(VpState* vp, DecodedInstruction* i)
    {
        var thunk = (Thunk*)i->Link;
        if (thunk == null || (vp->Mode & (uint)VpMode.FpuTrap) != 0)
        {
            return false;
        }

        var linear = Address(vp, i);
        uint size = thunk->Form.MemorySize;
        if (size == 0)
        {
            size = (i->Prefixes & Prefixes.RexW) != 0 ? 8u : 4;
        }

        if (thunk->Form.Has(ThunkTraits.Aligned) && (linear & 15) != 0)
        {
            return false;
        }

        return (thunk->Form.Has(ThunkTraits.WritesRm) ? Store(vp, linear, size, out var operand) : Load(vp, linear, size, out operand))
            && RunThunk(vp, i, thunk, operand);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool RunThunk(VpState* vp, DecodedInstruction* i, Thunk* thunk, byte* rm)
    {
        var result = thunk->Code(Slot(vp, thunk->Form.Reg, i->Reg), rm, vp->Xsave + XsaveArea.Xmm, vp, 0);
        if (thunk->Form.Has(ThunkTraits.SetsFlags | ThunkTraits.FloatingPoint))
        {
            if ((result & Thunk.Faulted) != 0)
            {
                return false;
            }

            if (thunk->Form.Has(ThunkTraits.SetsFlags))
            {
                LazyFlags.Set(vp, (uint)result);
            }
        }

        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* Slot(VpState* vp, OperandKind kind, int number) =>
        kind == OperandKind.Xmm ? vp->Xsave + XsaveArea.Xmm + (16 * number) : (byte*)vp + (8 * number);
}
