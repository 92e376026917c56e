using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Software;

/// <content>CPUID: the partition's table with what depends on the processor and its state.</content>
internal sealed unsafe partial class SoftwareVirtualProcessor
{
    private const uint XsavecBit = 2;

    private readonly PatchedCpuid _cpuid;

    /// <summary>A processor's leaves, patched once with what is fixed for its life.</summary>
    private sealed record PatchedCpuid(CpuidTable Table, uint MaxBasic, uint MaxExtended, uint Signature);

    private PatchedCpuid BuildCpuid(PartitionOptions options)
    {
        var table = ProcessorTopology.Apply(options.Cpuid, options.VirtualProcessorCount, Index);
        return new PatchedCpuid(table, table[0].Eax, table[0x8000_0000].Eax, table[1].Eax);
    }

    private CpuidResult GetCpuid(uint leaf, uint subleaf)
    {
        // A leaf beyond the highest basic one answers as that one does, on this vendor.
        if (leaf < 0x4000_0000 ? leaf > _cpuid.MaxBasic : leaf > _cpuid.MaxExtended)
        {
            leaf = _cpuid.MaxBasic;
        }

        var result = _cpuid.Table[leaf, subleaf];
        switch (leaf)
        {
            case 1:
                result = result with
                {
                    Ecx = (State->Cr4 & ControlBits.Cr4Osxsave) != 0 ? result.Ecx | (1 << 27) : result.Ecx & ~(1u << 27),
                };
                break;
            case 0xD when subleaf == 0:
                result = result with { Ebx = XsaveAreaSize(State->Xcr0), Ecx = XsaveAreaSize(result.Eax) };
                break;
            case 0xD when subleaf == 1 && (result.Eax & XsavecBit) != 0:
                // The compacted format leaves no gaps, and there are none.
                result = result with { Ebx = XsaveAreaSize(State->Xcr0) };
                break;
            default:
                break;
        }

        return result;
    }

    private static uint XsaveAreaSize(ulong components) => (components & 4) != 0 ? 832u : 576;

    /// <summary>Components of XCR0 that CPUID offers.</summary>
    private ulong SupportedXcr0 => _cpuid.Table[0xD, 0].Eax;

    private bool HasFeature1Ecx(int bit) => ((_cpuid.Table[1].Ecx >> bit) & 1) != 0;

    private void ExecuteCpuid()
    {
        Counters.Cpuid++;
        var result = GetCpuid((uint)State->Gpr[0], (uint)State->Gpr[1]);
        State->Gpr[0] = result.Eax;
        State->Gpr[3] = result.Ebx;
        State->Gpr[1] = result.Ecx;
        State->Gpr[2] = result.Edx;
    }
}
