using Vitro.Hypervisor.Software.Decoding;
using Vitro.Hypervisor.Software.Thunks;
using Vitro.Hypervisor.Software.Vector;

namespace Vitro.Hypervisor.Software.Translator;

/// <summary>Which vector and x87 instructions translated code executes itself.</summary>
internal static unsafe class VectorForm
{
    private const ThunkTraits Mmx = ThunkTraits.MmxTransition | ThunkTraits.EmptyMmx;

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
            && !form.Has(ThunkTraits.MaskedStore | (i->IsMemory ? ThunkTraits.RegisterOnly : ThunkTraits.MemoryOnly))
            && (X87Stubs.IsSupported || !UsesMmx(form, i->IsMemory));
    }

    /// <summary>Whether MMX registers are used, which are the x87 registers.</summary>
    public static bool UsesMmx(in ThunkForm form, bool isMemory) =>
        form.Has(Mmx) || (form.Has(ThunkTraits.MmxTransitionRegister) && !isMemory);

    /// <summary>Whether an instruction is executed with the x87 registers in the host's.</summary>
    public static bool UsesX87(DecodedInstruction* i) => i->Operation switch
    {
        Operation.X87 or Operation.Fwait => IsNativeX87(i),
        Operation.Vector => TryFind(i, out var form) && UsesMmx(form, i->IsMemory),
        _ => false,
    };

    /// <summary>Whether translated code executes an x87 instruction: not those that move the whole state, nor operands in FS and GS.</summary>
    public static bool IsNativeX87(DecodedInstruction* i)
    {
        if (!X87Stubs.IsSupported || i->Operation == Operation.Fwait)
        {
            return X87Stubs.IsSupported;
        }

        if (i->IsMemory)
        {
            return i->Segment < 4
                && (X87Form.MemorySize(i->Opcode, i->Extension, out _) != 0 || IsControlMemory(i));
        }

        return X87Form.IsRegisterForm(i->Opcode, i->ModRm) || ((i->Opcode << 8) | i->ModRm) is 0xDFE0 or 0xDBE3 or 0xDBE2;
    }

    /// <summary>FLDCW, FNSTCW, FNSTSW.</summary>
    public static bool IsControlMemory(DecodedInstruction* i) => ((i->Opcode << 8) | i->Extension) is 0xD905 or 0xD907 or 0xDD07;
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

/// <summary>What is known to be in the host's registers at a place of translated code.</summary>
internal struct HostRegisters
{
    public VectorNeed Vectors;

    /// <summary>x87 and MMX.</summary>
    public bool X87;
}
