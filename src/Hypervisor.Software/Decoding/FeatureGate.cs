using System.Runtime.CompilerServices;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software.Thunks;

namespace Vitro.Hypervisor.Software.Decoding;

/// <summary>Makes of decoded instructions what a processor without some extensions makes of them.</summary>
internal static unsafe class FeatureGate
{
    /// <summary>Adapts an instruction to what the guest's CPUID offers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Apply(DecodedInstruction* i, CpuFeatures features)
    {
        // Most instructions are of all processors.
        if (i->Operation is > Operation.Bsr and (< Operation.Setcc or > Operation.Pause))
        {
            ApplyTo(i, features);
        }
    }

    private static void ApplyTo(DecodedInstruction* i, CpuFeatures features)
    {
        switch (i->Operation)
        {
            case Operation.Tzcnt when (features & CpuFeatures.Bmi1) == 0:
                i->Operation = Operation.Bsf;
                return;
            case Operation.Lzcnt when (features & CpuFeatures.Lzcnt) == 0:
                i->Operation = Operation.Bsr;
                return;
            default:
                var needed = NeededBy(i);
                if ((features & needed) != needed)
                {
                    i->Operation = Operation.Invalid;
                }

                return;
        }
    }

    private static CpuFeatures NeededBy(DecodedInstruction* i)
    {
        switch (i->Operation)
        {
            case Operation.Vector:
                return (i->Prefixes & Prefixes.Vex) != 0 ? OfVex(i) : OfLegacy(i);
            case Operation.Ldmxcsr or Operation.Stmxcsr:
                return (i->Prefixes & Prefixes.Vex) != 0 ? CpuFeatures.Avx : CpuFeatures.None;
            case Operation.Popcnt:
                return CpuFeatures.Popcnt;
            case Operation.Movbe:
                return CpuFeatures.Movbe;
            case Operation.Crc32:
                return CpuFeatures.Sse42;
            case Operation.Adcx or Operation.Adox:
                return CpuFeatures.Adx;
            case Operation.Andn or Operation.Bextr or Operation.Blsr or Operation.Blsmsk or Operation.Blsi:
                return CpuFeatures.Bmi1;
            case Operation.Bzhi or Operation.Mulx or Operation.Pdep or Operation.Pext or Operation.Rorx or Operation.Sarx or Operation.Shlx
                or Operation.Shrx:
                return CpuFeatures.Bmi2;
            case Operation.Cmpxchg16b:
                return CpuFeatures.Cmpxchg16b;
            case Operation.Rdrand:
                return CpuFeatures.Rdrand;
            case Operation.Rdseed:
                return CpuFeatures.Rdseed;
            case Operation.Rdpid:
                return CpuFeatures.Rdpid;
            case Operation.Clflushopt:
                return CpuFeatures.Clflushopt;
            case Operation.Clwb:
                return CpuFeatures.Clwb;
            case Operation.Xsaveopt:
                return CpuFeatures.Xsaveopt;
            case Operation.Xsavec:
                return CpuFeatures.Xsavec;
            default:
                return CpuFeatures.None;
        }
    }

    // What is in no table is #UD without further ado.
    private static CpuFeatures OfLegacy(DecodedInstruction* i)
    {
        var opcode = i->Opcode;
        return i->Map switch
        {
            1 => opcode is 0x7C or 0x7D or 0xD0 or 0xF0 || (opcode is 0x12 or 0x16 && i->MandatoryPrefix is 0xF2 or 0xF3)
                ? CpuFeatures.Sse3
                : CpuFeatures.None,
            2 => opcode switch
            {
                <= 0x0B or 0x1C or 0x1D or 0x1E => CpuFeatures.Ssse3,
                0x37 => CpuFeatures.Sse42,
                <= 0x41 => CpuFeatures.Sse41,
                >= 0xC8 and <= 0xCD => CpuFeatures.Sha,
                _ => CpuFeatures.Aes,
            },
            _ => opcode switch
            {
                0x0F => CpuFeatures.Ssse3,
                0x44 => CpuFeatures.Pclmul,
                >= 0x60 and <= 0x63 => CpuFeatures.Sse42,
                0xCC => CpuFeatures.Sha,
                0xDF => CpuFeatures.Aes,
                _ => CpuFeatures.Sse41,
            },
        };
    }

    private static CpuFeatures OfVex(DecodedInstruction* i)
    {
        if (!VexTable.TryFind(i, out var form))
        {
            return CpuFeatures.Avx;
        }

        // Broadcasts from registers came later than those from memory.
        var isLater = form.Has(ThunkTraits.Avx2) || (form.Has(ThunkTraits.Avx2Wide) && (i->Prefixes & Prefixes.VexL) != 0)
            || (i->Map == 2 && i->Opcode is 0x18 or 0x19 && !i->IsMemory);
        var avx = isLater ? CpuFeatures.Avx | CpuFeatures.Avx2 : CpuFeatures.Avx;
        return (i->Map, i->Opcode) switch
        {
            (2, 0x13) or (3, 0x1D) => avx | CpuFeatures.F16c,
            (2, >= 0x96 and <= 0xBF) => avx | CpuFeatures.Fma,
            (2, >= 0xDB and <= 0xDF) or (3, 0xDF) => avx | CpuFeatures.Aes,
            (3, 0x44) => avx | CpuFeatures.Pclmul,
            _ => avx,
        };
    }
}
