namespace Vitro.Hypervisor.Engine;

/// <summary>Finds what a guest was promised by CPUID and an engine cannot keep.</summary>
public static class CpuidPromise
{
    // OSXSAVE mirrors CR4, and the hypervisor bit is the hypervisor interface's.
    private const uint NotTheEngines = (1u << 27) | (1u << 31);

    private static readonly (uint Leaf, uint Subleaf, string Register)[] FeatureRegisters =
    [
        (1, CpuidTable.AnySubleaf, "ecx"),
        (1, CpuidTable.AnySubleaf, "edx"),
        (7, 0, "ebx"),
        (7, 0, "ecx"),
        (7, 0, "edx"),
        (7, 1, "eax"),
        (0xD, 0, "eax"),
        (0xD, 1, "eax"),
        (0x8000_0001, CpuidTable.AnySubleaf, "ecx"),
        (0x8000_0001, CpuidTable.AnySubleaf, "edx"),
        (0x8000_0007, CpuidTable.AnySubleaf, "edx"),
        (0x8000_0008, CpuidTable.AnySubleaf, "ebx"),
        (0x4000_0003, CpuidTable.AnySubleaf, "eax"),
        (0x4000_0003, CpuidTable.AnySubleaf, "ebx"),
        (0x4000_0003, CpuidTable.AnySubleaf, "edx"),
        (0x4000_0006, CpuidTable.AnySubleaf, "eax"),
    ];

    /// <summary>
    /// The features promised and not supported, as text such as <c>avx2, bmi2; 7.0:ebx bits 16</c>: those without a name by their bits; null
    /// when every promise holds.
    /// </summary>
    /// <param name="promised">What the guest has seen.</param>
    /// <param name="supported">What the engine, with the hypervisor interface, supports at most.</param>
    public static string? Missing(CpuidTable promised, CpuidTable supported)
    {
        var names = new List<string>();
        var missing = new List<string>();
        foreach (var (leaf, subleaf, register) in FeatureRegisters)
        {
            var bits = CpuidBit.Read(promised[leaf, subleaf], register) & ~CpuidBit.Read(supported[leaf, subleaf], register);
            if (leaf == 1 && register == "ecx")
            {
                bits &= ~NotTheEngines;
            }

            foreach (var feature in NamedFeature.All)
            {
                foreach (var bit in feature.Bits.Where(bit => bit.Leaf == leaf && bit.Subleaf == subleaf && bit.Register == register && ((bits >> bit.Number) & 1) != 0))
                {
                    bits &= ~(1u << bit.Number);
                    if (!names.Contains(feature.Name))
                    {
                        names.Add(feature.Name);
                    }
                }
            }

            if (bits != 0)
            {
                var name = subleaf == CpuidTable.AnySubleaf ? $"{leaf:x}" : $"{leaf:x}.{subleaf:x}";
                missing.Add($"{name}:{register} bits {string.Join(", ", Enumerable.Range(0, 32).Where(bit => ((bits >> bit) & 1) != 0))}");
            }
        }

        var width = promised[0x8000_0008].Eax & 0xFF;
        if (width > (supported[0x8000_0008].Eax & 0xFF))
        {
            missing.Add($"physical addresses of {width} bits");
        }

        if (names.Count > 0)
        {
            missing.Insert(0, string.Join(", ", names));
        }

        return missing.Count == 0 ? null : string.Join("; ", missing);
    }
}
