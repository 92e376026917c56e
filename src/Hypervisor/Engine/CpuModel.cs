using System.Text;

namespace Vitro.Hypervisor.Engine;

/// <summary>A processor as guests see it through CPUID, whatever the host is.</summary>
/// <remarks>
/// The family and model are those of an in-order part without speculation (GenuineIntel 6-0x36), so that Linux finds no
/// speculation bug to work around: no retpolines, no page-table isolation, no buffer clearing on the way out of the kernel.
/// </remarks>
public sealed class CpuModel
{
    /// <summary>Width of guest physical addresses as CPUID tells it; the bits above are reserved in page tables.</summary>
    public const int PhysicalAddressBits = 46;

    private const uint Family6Model36Stepping1 = 0x0003_0661;

    private CpuModel(string name, int version)
    {
        Name = name;
        Cpuid = Build(version);
    }

    /// <summary>What a machine's configuration names.</summary>
    public string Name { get; }

    /// <summary>Its leaves; apart from what depends on the number of processors and on processor state.</summary>
    public CpuidTable Cpuid { get; }

    /// <summary>The baseline: SSE2.</summary>
    public static CpuModel X8664V1 { get; } = new("x86-64-v1", 1);

    /// <summary>SSE4.2, POPCNT, AES and the like: what Debian's successors and most software want at least.</summary>
    public static CpuModel X8664V2 { get; } = new("x86-64-v2", 2);

    /// <summary>AVX2, BMI, FMA, MOVBE and F16C; SHA where the host has it.</summary>
    public static CpuModel X8664V3 { get; } = new("x86-64-v3", 3);

    /// <summary>Models this host can execute, the most able first.</summary>
    public static IReadOnlyList<CpuModel> All { get; } =
        (CpuFeatureBits.Host & Version3) == Version3 ? [X8664V3, X8664V2, X8664V1] : [X8664V2, X8664V1];

    private const CpuFeatures Version3 = CpuFeatures.Avx | CpuFeatures.Avx2 | CpuFeatures.Fma | CpuFeatures.F16c;

    private static CpuidTable Build(int version)
    {
        var isVersion2 = version >= 2;
        var isVersion3 = version >= 3;
        var table = new CpuidTable
        {
            [0] = new(0xD, 0x756E_6547, 0x6C65_746E, 0x4965_6E69),
        };

        // SSE3, CX16, PCID, X2APIC, XSAVE, RDRAND; version 2 adds PCLMUL, SSSE3, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, and version 3
        // FMA, AVX, F16C.
        var ecx = Bits(0, 13, 17, 21, 26, 30) | (isVersion2 ? Bits(1, 9, 19, 20, 22, 23, 25) : 0)
            | (isVersion3 ? Bits(12, 28, 29) : 0);

        // FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2.
        var edx = Bits(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26);
        table[1] = new(Family6Model36Stepping1, 8 << 8, ecx, edx);
        table[2] = new(0x00FF_FF01, 0, 0, 0);

        // Data 32 KiB, code 32 KiB, unified 1 MiB and 8 MiB; 64-byte lines. Sharing is patched per machine.
        table[4, 0] = new(0x0000_0121, (7u << 22) | 63, 63, 0);
        table[4, 1] = new(0x0000_0122, (7u << 22) | 63, 63, 0);
        table[4, 2] = new(0x0000_0143, (15u << 22) | 63, 1023, 0);
        table[4, 3] = new(0x0000_0163, (15u << 22) | 63, 8191, 0);
        table[4, 4] = default;

        // ARAT: the APIC timer never stops.
        table[6] = new(1 << 2, 0, 0, 0);

        // FSGSBASE, TSC_ADJUST, SMEP, ERMS, INVPCID, no x87 selectors, RDSEED, SMAP; UMIP, RDPID. Version 3 adds BMI1, AVX2, BMI2, ADX.
        var sha = (CpuFeatureBits.Host & CpuFeatures.Sha) != 0 ? Bits(29) : 0;
        table[7, 0] = new(0, Bits(0, 1, 7, 9, 10, 13, 18, 20) | (isVersion3 ? Bits(3, 5, 8, 19) | sha : 0), Bits(2, 22), 0);

        // The XSAVE area: sizes are patched with XCR0. XSAVEOPT and XSAVEC; the upper halves of YMM lie at 576.
        table[0xD, 0] = new(isVersion3 ? 7u : 3, 576, 576, 0);
        table[0xD, 1] = new(3, 0, 0, 0);
        if (isVersion3)
        {
            table[0xD, 2] = new(256, 576, 0, 0);
        }

        table[0x8000_0000] = new(0x8000_0008, 0, 0, 0);

        // LAHF/SAHF, in version 3 LZCNT; SYSCALL, NX, 1 GiB pages, RDTSCP, long mode. (3DNow! prefetch needs no bit.)
        table[0x8000_0001] = new(0, 0, Bits(0) | (isVersion3 ? Bits(5) : 0), Bits(11, 20, 26, 27, 29));
        var brand = new byte[48];
        Encoding.ASCII.GetBytes("Vitro Virtual Processor").CopyTo(brand, 0);
        for (var i = 0u; i < 3; i++)
        {
            var at = (int)i * 16;
            table[0x8000_0002 + i] = new(
                BitConverter.ToUInt32(brand, at),
                BitConverter.ToUInt32(brand, at + 4),
                BitConverter.ToUInt32(brand, at + 8),
                BitConverter.ToUInt32(brand, at + 12));
        }

        table[0x8000_0006] = new(0, 0, (1024u << 16) | 0x8040, 0);

        // The time stamp counter runs at one rate.
        table[0x8000_0007] = new(0, 0, 0, 1 << 8);
        table[0x8000_0008] = new((48u << 8) | PhysicalAddressBits, 0, 0, 0);
        return table;
    }

    private static uint Bits(params ReadOnlySpan<int> numbers)
    {
        var bits = 0u;
        foreach (var number in numbers)
        {
            bits |= 1u << number;
        }

        return bits;
    }
}
