using System.Runtime.Intrinsics.X86;

namespace Vitro.Hypervisor.Engine;

/// <summary>Instruction set extensions that CPUID offers or not; those it does not offer are #UD, or what they were before.</summary>
[Flags]
public enum CpuFeatures : uint
{
    None = 0,
    Sse3 = 1,
    Ssse3 = 1 << 1,
    Sse41 = 1 << 2,

    /// <summary>CRC32 included.</summary>
    Sse42 = 1 << 3,
    Popcnt = 1 << 4,
    Movbe = 1 << 5,
    Aes = 1 << 6,
    Pclmul = 1 << 7,
    Sha = 1 << 8,
    Avx = 1 << 9,
    Avx2 = 1 << 10,
    Fma = 1 << 11,
    F16c = 1 << 12,
    Bmi1 = 1 << 13,
    Bmi2 = 1 << 14,
    Lzcnt = 1 << 15,
    Adx = 1 << 16,
    Cmpxchg16b = 1 << 17,
    Rdrand = 1 << 18,
    Rdseed = 1 << 19,
    Clflushopt = 1 << 20,
    Clwb = 1 << 21,
    Rdpid = 1 << 22,
    Xsaveopt = 1 << 23,
    Xsavec = 1 << 24,

    /// <summary>Executed by the host's own instructions, so that the host must have them.</summary>
    HostExecuted = Sse3 | Ssse3 | Sse41 | Sse42 | Aes | Pclmul | Sha | Avx | Avx2 | Fma | F16c,
}

/// <summary>What CPUID says of them.</summary>
public static class CpuFeatureBits
{
    // Leaf, register (0 EAX to 3 EDX), bit; leaf 13 means its subleaf 1.
    private static readonly (CpuFeatures Feature, uint Leaf, int Register, int Bit)[] Bits =
    [
        (CpuFeatures.Sse3, 1, 2, 0), (CpuFeatures.Pclmul, 1, 2, 1), (CpuFeatures.Ssse3, 1, 2, 9), (CpuFeatures.Fma, 1, 2, 12),
        (CpuFeatures.Cmpxchg16b, 1, 2, 13), (CpuFeatures.Sse41, 1, 2, 19), (CpuFeatures.Sse42, 1, 2, 20), (CpuFeatures.Movbe, 1, 2, 22),
        (CpuFeatures.Popcnt, 1, 2, 23), (CpuFeatures.Aes, 1, 2, 25), (CpuFeatures.Avx, 1, 2, 28), (CpuFeatures.F16c, 1, 2, 29),
        (CpuFeatures.Rdrand, 1, 2, 30), (CpuFeatures.Bmi1, 7, 1, 3), (CpuFeatures.Avx2, 7, 1, 5), (CpuFeatures.Bmi2, 7, 1, 8),
        (CpuFeatures.Rdseed, 7, 1, 18), (CpuFeatures.Adx, 7, 1, 19), (CpuFeatures.Clflushopt, 7, 1, 23), (CpuFeatures.Clwb, 7, 1, 24),
        (CpuFeatures.Sha, 7, 1, 29), (CpuFeatures.Rdpid, 7, 2, 22), (CpuFeatures.Xsaveopt, 13, 0, 0), (CpuFeatures.Xsavec, 13, 0, 1),
        (CpuFeatures.Lzcnt, 0x8000_0001, 2, 5),
    ];

    /// <summary>The host's.</summary>
    public static CpuFeatures Host { get; } = ReadHost();

    /// <summary>What a guest with these leaves may execute on this host.</summary>
    public static CpuFeatures Of(CpuidTable table)
    {
        var features = Read((leaf, subleaf) => table[leaf, subleaf]);
        return features & (Host | ~CpuFeatures.HostExecuted);
    }

    private static CpuFeatures ReadHost()
    {
        if (!X86Base.IsSupported)
        {
            return CpuFeatures.None;
        }

        var highest = (uint)X86Base.CpuId(0, 0).Eax;
        var features = Read((leaf, subleaf) =>
        {
            if (leaf < 0x8000_0000 && leaf > highest)
            {
                return default;
            }

            var (eax, ebx, ecx, edx) = X86Base.CpuId((int)leaf, (int)subleaf);
            return new CpuidResult((uint)eax, (uint)ebx, (uint)ecx, (uint)edx);
        });
        const CpuFeatures wide = CpuFeatures.Avx | CpuFeatures.Avx2 | CpuFeatures.Fma | CpuFeatures.F16c;
        return Avx.IsSupported ? features : features & ~wide;
    }

    private static CpuFeatures Read(Func<uint, uint, CpuidResult> cpuid)
    {
        var features = CpuFeatures.None;
        foreach (var (feature, leaf, register, bit) in Bits)
        {
            var result = cpuid(leaf, leaf == 13 ? 1u : 0);
            var word = register switch { 0 => result.Eax, 1 => result.Ebx, 2 => result.Ecx, _ => result.Edx };
            if (((word >> bit) & 1) != 0)
            {
                features |= feature;
            }
        }

        return features;
    }
}
