namespace Vitro.Hypervisor.Engine;

/// <summary>Feature bits of CPUID that come and go together, under the name that Linux has for them.</summary>
/// <param name="Name">The name.</param>
/// <param name="Bits">The bits, each in a register of a leaf.</param>
/// <param name="Needs">Features without which a processor cannot have this one.</param>
internal sealed record NamedFeature(string Name, IReadOnlyList<CpuidBit> Bits, IReadOnlyList<string> Needs)
{
    private const uint Any = CpuidTable.AnySubleaf;

    /// <summary>Every feature of <see cref="CpuModel"/> that a host may lack.</summary>
    internal static IReadOnlyList<NamedFeature> All { get; } =
    [
        Of("sse3", 1, Any, "ecx", 0),
        Of("pclmulqdq", 1, Any, "ecx", 1),
        Of("ssse3", 1, Any, "ecx", 9),
        Of("fma", 1, Any, "ecx", 12, "avx"),
        Of("cx16", 1, Any, "ecx", 13),
        Of("pcid", 1, Any, "ecx", 17),
        Of("sse4_1", 1, Any, "ecx", 19),
        Of("sse4_2", 1, Any, "ecx", 20),
        Of("x2apic", 1, Any, "ecx", 21),
        Of("movbe", 1, Any, "ecx", 22),
        Of("popcnt", 1, Any, "ecx", 23),
        Of("aes", 1, Any, "ecx", 25),
        new("xsave", [new(1, Any, "ecx", 26), new(0xD, 0, "eax", 0), new(0xD, 0, "eax", 1)], []),
        new("avx", [new(1, Any, "ecx", 28), new(0xD, 0, "eax", 2)], ["xsave"]),
        Of("f16c", 1, Any, "ecx", 29, "avx"),
        Of("rdrand", 1, Any, "ecx", 30),
        Of("fsgsbase", 7, 0, "ebx", 0),
        Of("tsc_adjust", 7, 0, "ebx", 1),
        Of("bmi1", 7, 0, "ebx", 3),
        Of("avx2", 7, 0, "ebx", 5, "avx"),
        Of("smep", 7, 0, "ebx", 7),
        Of("bmi2", 7, 0, "ebx", 8),
        Of("erms", 7, 0, "ebx", 9),
        Of("invpcid", 7, 0, "ebx", 10),
        Of("rdseed", 7, 0, "ebx", 18),
        Of("adx", 7, 0, "ebx", 19),
        Of("smap", 7, 0, "ebx", 20),
        Of("sha_ni", 7, 0, "ebx", 29),
        Of("umip", 7, 0, "ecx", 2),
        Of("rdpid", 7, 0, "ecx", 22),
        Of("xsaveopt", 0xD, 1, "eax", 0, "xsave"),
        Of("xsavec", 0xD, 1, "eax", 1, "xsave"),
        Of("lahf_lm", 0x8000_0001, Any, "ecx", 0),
        Of("abm", 0x8000_0001, Any, "ecx", 5),
        Of("syscall", 0x8000_0001, Any, "edx", 11),
        Of("nx", 0x8000_0001, Any, "edx", 20),
        Of("pdpe1gb", 0x8000_0001, Any, "edx", 26),
        Of("rdtscp", 0x8000_0001, Any, "edx", 27),
        Of("lm", 0x8000_0001, Any, "edx", 29),
        Of("nonstop_tsc", 0x8000_0007, Any, "edx", 8),
    ];

    /// <summary>Whether a table has any bit of the feature.</summary>
    internal bool IsIn(CpuidTable table) => Bits.Any(bit => bit.IsIn(table));

    /// <summary>Takes the feature, and those that need it, out of a table.</summary>
    internal void RemoveFrom(CpuidTable table)
    {
        foreach (var bit in Bits)
        {
            bit.RemoveFrom(table);
        }

        foreach (var other in All.Where(other => other.Needs.Contains(Name) && other.IsIn(table)))
        {
            other.RemoveFrom(table);
        }
    }

    private static NamedFeature Of(string name, uint leaf, uint subleaf, string register, int bit, params string[] needs) =>
        new(name, [new(leaf, subleaf, register, bit)], needs);
}

/// <summary>One bit of CPUID.</summary>
/// <param name="Leaf">The leaf.</param>
/// <param name="Subleaf">The subleaf, or <see cref="CpuidTable.AnySubleaf"/>.</param>
/// <param name="Register"><c>eax</c>, <c>ebx</c>, <c>ecx</c> or <c>edx</c>.</param>
/// <param name="Number">0 to 31.</param>
internal readonly record struct CpuidBit(uint Leaf, uint Subleaf, string Register, int Number)
{
    internal bool IsIn(CpuidTable table) => ((Read(table[Leaf, Subleaf], Register) >> Number) & 1) != 0;

    internal void RemoveFrom(CpuidTable table)
    {
        var kept = ~(1u << Number);
        var result = table[Leaf, Subleaf];
        table[Leaf, Subleaf] = Register switch
        {
            "eax" => result with { Eax = result.Eax & kept },
            "ebx" => result with { Ebx = result.Ebx & kept },
            "ecx" => result with { Ecx = result.Ecx & kept },
            _ => result with { Edx = result.Edx & kept },
        };
    }

    /// <summary>A register of a result by its name.</summary>
    internal static uint Read(CpuidResult result, string register) => register switch
    {
        "eax" => result.Eax,
        "ebx" => result.Ebx,
        "ecx" => result.Ecx,
        _ => result.Edx,
    };
}
