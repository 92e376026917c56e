using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Which vector instructions translated code executes itself; MMX, which shares the x87 registers, it does not.</summary>
internal static unsafe class VectorForm
{
    private const ThunkTraits Odd = ThunkTraits.MmxTransition | ThunkTraits.MmxTransitionRegister | ThunkTraits.MaskedStore
        | ThunkTraits.EmptyMmx;

    /// <summary>Whether it does, for an instruction that the guest has.</summary>
    public static bool IsNative(DecodedInstruction* i) => i->Operation == Operation.Vector && TryFind(i, out _);

    /// <summary>Whether it replaces the arithmetic flags.</summary>
    public static bool SetsFlags(DecodedInstruction* i) => TryFind(i, out var form) && form.Has(ThunkTraits.SetsFlags);

    /// <summary>Finds its form; false when it is left to the interpreter.</summary>
    public static bool TryFind(DecodedInstruction* i, out ThunkForm form)
    {
        if ((i->Prefixes & Prefixes.Vex) != 0)
        {
            return VexTable.TryFind(i, out form) && !form.Has(ThunkTraits.Gather | ThunkTraits.MaskedStore);
        }

        return ThunkTable.TryFind(i->Map, i->Opcode, ThunkTable.PrefixOf(i), i->Extension, out form)
            && !form.Has(Odd | (i->IsMemory ? ThunkTraits.RegisterOnly : ThunkTraits.MemoryOnly));
    }
}

/// <summary>Which vector registers are known to be in the host's at a place of translated code.</summary>
internal enum VectorNeed : byte
{
    /// <summary>None known to be.</summary>
    None,

    /// <summary>XMM and MXCSR.</summary>
    Sse,

    /// <summary>YMM too, and AVX is enabled.</summary>
    Avx,
}
