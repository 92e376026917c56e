using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>CPUID of a processor model, cut down to what this host can run.</summary>
internal static unsafe class HostCpuid
{
    private const int MaximumEntries = 256;

    // Made by KVM or told of the machine, not of the host's processor.
    private const uint X2Apic = 1u << 21;

    // Bits of leaf 1's EDX that describe the machine: APIC, MTRR, machine check.
    private const uint AlwaysEdx = (1u << 9) | (1u << 12) | (1u << 7) | (1u << 14);

    private const uint YmmComponent = 4;

    // The counter's steadiness is the host kernel's promise where it keeps time by it; KVM does not list the bit.
    private const uint SteadyTsc = 1u << 8;

    /// <summary>What the host's KVM supports.</summary>
    internal static CpuidTable Read(KvmFile device) => Read(device, KvmRequest.GetSupportedCpuid);

    /// <summary>The leaves of the Hyper-V interface that the host's kernel can stand for by itself (KVM_CAP_SYS_HYPERV_CPUID).</summary>
    internal static CpuidTable ReadHyperv(KvmFile device) => Read(device, KvmRequest.GetSupportedHypervCpuid);

    private static CpuidTable Read(KvmFile device, ulong request)
    {
        var buffer = new byte[8 + (MaximumEntries * sizeof(KvmCpuidEntry))];
        var table = new CpuidTable();
        fixed (byte* bytes = buffer)
        {
            *(int*)bytes = MaximumEntries;
            device.Call("Asking what CPUID the host supports", request, bytes);
            var entries = (KvmCpuidEntry*)(bytes + 8);
            for (var i = 0; i < Math.Min(*(int*)bytes, MaximumEntries); i++)
            {
                ref var entry = ref entries[i];
                var subleaf = (entry.Flags & KvmCpuidEntry.SignificantIndex) != 0 ? entry.Index : CpuidTable.AnySubleaf;
                table[entry.Function, subleaf] = new CpuidResult(entry.Eax, entry.Ebx, entry.Ecx, entry.Edx);
            }
        }

        return table;
    }

    private static uint XsaveAreaSize(uint components) => (components & YmmComponent) != 0 ? 832u : 576;

    /// <summary>A model's table without the features the host lacks.</summary>
    internal static CpuidTable Intersect(CpuidTable model, CpuidTable host)
    {
        var table = model.Clone();
        table[1] = table[1] with
        {
            Ecx = table[1].Ecx & (host[1].Ecx | X2Apic),
            Edx = table[1].Edx & (host[1].Edx | AlwaysEdx),
        };
        var (features, hostFeatures) = (table[7, 0], host[7, 0]);
        table[7, 0] = features with
        {
            // "No x87 selectors" (EBX bit 13) and its like say what is missing; they are not the host's to refuse.
            Ebx = features.Ebx & (hostFeatures.Ebx | (1u << 13)),
            Ecx = features.Ecx & hostFeatures.Ecx,
            Edx = features.Edx & hostFeatures.Edx,
        };
        var components = table[0xD, 0].Eax & host[0xD, 0].Eax;

        // EBX follows XCR0, which the kernel sees to; ECX is the area of all that could be switched on.
        table[0xD, 0] = table[0xD, 0] with { Eax = components, Ecx = XsaveAreaSize(components) };
        if ((components & YmmComponent) == 0)
        {
            table[0xD, 2] = default;
        }

        table[0xD, 1] = table[0xD, 1] with { Eax = table[0xD, 1].Eax & host[0xD, 1].Eax };
        table[0x8000_0001] = table[0x8000_0001] with
        {
            Ecx = table[0x8000_0001].Ecx & host[0x8000_0001].Ecx,
            Edx = table[0x8000_0001].Edx & (host[0x8000_0001].Edx | (1u << 11)),
        };
        table[0x8000_0007] = table[0x8000_0007] with { Edx = table[0x8000_0007].Edx & (host[0x8000_0007].Edx | SteadyTsc) };
        var hostBits = host[0x8000_0008].Eax & 0xFF;
        var modelBits = table[0x8000_0008].Eax & 0xFF;
        if (hostBits != 0 && hostBits < modelBits)
        {
            table[0x8000_0008] = table[0x8000_0008] with { Eax = (table[0x8000_0008].Eax & ~0xFFu) | hostBits };
        }

        return table;
    }
}
