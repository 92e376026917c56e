using System.Numerics;

namespace Vitro.Hypervisor.Engine;

/// <summary>What CPUID tells of the other processors: one package, one core a virtual processor, APIC ids from 0 on.</summary>
public static class ProcessorTopology
{
    /// <summary>A copy of a table with the leaves that depend on the number of processors and on which of them asks.</summary>
    /// <param name="cpuid">The partition's table.</param>
    /// <param name="count">Virtual processors of the partition.</param>
    /// <param name="index">The processor; its APIC id.</param>
    public static CpuidTable Apply(CpuidTable cpuid, int count, int index)
    {
        var table = cpuid.Clone();
        var id = (uint)index;
        var leaf1 = table[1];
        var addressable = BitOperations.RoundUpToPowerOf2((uint)count);
        table[1] = leaf1 with
        {
            Ebx = (leaf1.Ebx & 0xFFFF) | (Math.Min(addressable, 255) << 16) | (id << 24),

            // HTT: the field above counts; set whenever the package holds several logical processors.
            Edx = count > 1 ? leaf1.Edx | (1u << 28) : leaf1.Edx,
        };
        for (var i = 0u; i < 4; i++)
        {
            var cache = table[4, i];
            if (cache.Eax != 0)
            {
                var sharing = i == 3 ? addressable - 1 : 0;
                table[4, i] = cache with { Eax = (cache.Eax & 0x3FFF) | (sharing << 14) | ((addressable - 1) << 26) };
            }
        }

        var shift = (uint)BitOperations.Log2(addressable);
        table[0xB, 0] = new CpuidResult(0, 1, 1 << 8, id);
        table[0xB, 1] = new CpuidResult(shift, (uint)count, (2 << 8) | 1, id);
        for (var i = 2u; i < 4; i++)
        {
            table[0xB, i] = new CpuidResult(0, 0, i, id);
        }

        return table;
    }
}
