using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Tlfs;

/// <summary>The CPUID leaves by which a guest knows the Hyper-V interface (TLFS, "Feature and Interface Discovery").</summary>
public static class HypervCpuid
{
    // "Microsoft Hv", what Linux compares EBX, ECX and EDX of the first leaf with.
    private const uint VendorEbx = 0x7263_694D;
    private const uint VendorEcx = 0x666F_736F;
    private const uint VendorEdx = 0x7648_2074;

    // "Hv#1": the interface follows the specification.
    private const uint InterfaceSignature = 0x3123_7648;

    private const uint HypervisorPresent = 1u << 31;

    // Any leaf up here that belongs to another hypervisor wins over ours in the guest's detection.
    private const uint FirstLeaf = 0x4000_0000;
    private const uint MaxLeaf = 0x4000_0006;

    [Flags]
    private enum Privileges : uint
    {
        ReferenceCounter = 1 << 1,
        SynicMsrs = 1 << 2,
        SyntheticTimers = 1 << 3,
        ApicMsrs = 1 << 4,
        HypercallMsrs = 1 << 5,
        VpIndex = 1 << 6,
        ResetMsr = 1 << 7,
        ReferenceTsc = 1 << 9,
        FrequencyMsrs = 1 << 11,
        TscInvariant = 1 << 15,
    }

    // AccessPartitionId (1) and CpuManagement (12) must stay clear: Linux takes itself for the root partition otherwise.
    [Flags]
    private enum PrivilegesHigh : uint
    {
        PostMessages = 1 << 4,
        SignalEvents = 1 << 5,
    }

    [Flags]
    private enum Features : uint
    {
        FrequencyMsrs = 1 << 8,
        GuestCrash = 1 << 10,
        DirectTimers = 1 << 19,
    }

    [Flags]
    private enum Hints : uint
    {
        RemoteTlbFlush = 1 << 2,
        ApicMsrs = 1 << 3,
        RelaxedTiming = 1 << 5,
        DeprecatedAutoEoi = 1 << 9,
        ClusterIpi = 1 << 10,
        ExtendedProcessorMasks = 1 << 11,
    }

    /// <summary>
    /// Adds the leaves to a table and marks a hypervisor as present. The table must hold no other hypervisor's leaves.
    /// </summary>
    public static void AddTo(CpuidTable table, HypervFeatures features)
    {
        foreach (var entry in table.Entries)
        {
            if (entry.Key.Leaf - FirstLeaf <= 0xFFFF)
            {
                throw new ArgumentException($"CPUID leaf 0x{entry.Key.Leaf:x} belongs to a hypervisor already.", nameof(table));
            }
        }

        table[1] = table[1] with { Ecx = table[1].Ecx | HypervisorPresent };
        table[0x4000_0000] = new(MaxLeaf, VendorEbx, VendorEcx, VendorEdx);
        table[0x4000_0001] = new(InterfaceSignature, 0, 0, 0);

        // Build 20348, version 10.0: what guests print as their host's build.
        table[0x4000_0002] = new(20348, 10u << 16, 0, 0);
        table[0x4000_0003] = new((uint)GetPrivileges(features), (uint)(PrivilegesHigh.PostMessages | PrivilegesHigh.SignalEvents), 0, (uint)GetFeatures(features));

        // EBX: a spinning processor never tells.
        table[0x4000_0004] = new((uint)GetHints(features), uint.MaxValue, 0, 0);
        table[0x4000_0005] = new((uint)features.MaxVirtualProcessors, (uint)features.MaxVirtualProcessors, 0, 0);
        table[0x4000_0006] = default;
    }

    /// <summary>The features that a table promises: what a partition that goes on with it must accept.</summary>
    public static HypervFeatures FeaturesOf(CpuidTable table)
    {
        var privileges = (Privileges)table[0x4000_0003].Eax;
        var features = (Features)table[0x4000_0003].Edx;
        var hints = (Hints)table[0x4000_0004].Eax;
        return new HypervFeatures
        {
            ReferenceTscPage = privileges.HasFlag(Privileges.ReferenceTsc),
            FrequencyMsrs = privileges.HasFlag(Privileges.FrequencyMsrs),
            TscInvariant = privileges.HasFlag(Privileges.TscInvariant),
            SyntheticTimers = privileges.HasFlag(Privileges.SyntheticTimers),
            DirectTimers = features.HasFlag(Features.DirectTimers),
            GuestCrash = features.HasFlag(Features.GuestCrash),
            ClusterIpi = hints.HasFlag(Hints.ClusterIpi),
            TlbFlush = hints.HasFlag(Hints.RemoteTlbFlush),
            ApicMsrs = hints.HasFlag(Hints.ApicMsrs),
            MaxVirtualProcessors = (int)Math.Clamp(table[0x4000_0005].Eax, 1, 64),
        };
    }

    private static Privileges GetPrivileges(HypervFeatures features)
    {
        // APIC MSRs also stand for the VP assist page, which Linux sets up whatever the hints say.
        var privileges = Privileges.ReferenceCounter | Privileges.SynicMsrs | Privileges.ApicMsrs | Privileges.HypercallMsrs
            | Privileges.VpIndex | Privileges.ResetMsr;
        privileges |= features.SyntheticTimers ? Privileges.SyntheticTimers : 0;
        privileges |= features.ReferenceTscPage ? Privileges.ReferenceTsc : 0;
        privileges |= features.FrequencyMsrs ? Privileges.FrequencyMsrs : 0;
        privileges |= features.TscInvariant ? Privileges.TscInvariant : 0;
        return privileges;
    }

    private static Features GetFeatures(HypervFeatures features)
    {
        var bits = features.FrequencyMsrs ? Features.FrequencyMsrs : 0;
        bits |= features.GuestCrash ? Features.GuestCrash : 0;
        bits |= features is { SyntheticTimers: true, DirectTimers: true } ? Features.DirectTimers : 0;
        return bits;
    }

    private static Hints GetHints(HypervFeatures features)
    {
        var hints = Hints.RelaxedTiming | Hints.DeprecatedAutoEoi;
        hints |= features.ApicMsrs ? Hints.ApicMsrs : 0;
        hints |= features.ClusterIpi ? Hints.ClusterIpi | Hints.ExtendedProcessorMasks : 0;
        hints |= features.TlbFlush ? Hints.RemoteTlbFlush : 0;
        return hints;
    }
}
