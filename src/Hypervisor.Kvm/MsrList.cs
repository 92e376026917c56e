using System.Runtime.InteropServices;
using Vitro.Hypervisor.Kvm.Interop;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The model-specific registers that are part of a processor's saved state, read and written one by one.</summary>
internal static unsafe class MsrList
{
    internal const uint TimeStampCounter = 0x10;
    internal const uint ApicBase = 0x1B;
    internal const uint TscDeadline = 0x6E0;

    private const uint SmBase = 0x9E;
    private const uint MiscEnable = 0x1A0;
    private const uint Pat = 0x277;
    private const uint MtrrFirst = 0x200;
    private const uint MtrrLast = 0x20F;

    // TSC_ADJUST only remembers what was written; the offset itself is saved apart. STAR and its like, SYSENTER, PAT,
    // memory types, MISC_ENABLE.
    private static readonly uint[] Others =
    [
        0x3B, SmBase, 0x174, 0x175, 0x176, MiscEnable, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F,
        Pat, 0x2FF, 0xC000_0081, 0xC000_0082, 0xC000_0083, 0xC000_0084, 0xC000_0102, 0xC000_0103,
    ];

    private static readonly uint[] Saved = [.. Others, .. Enumerable.Range((int)MtrrFirst, (int)(MtrrLast - MtrrFirst + 1)).Select(msr => (uint)msr)];

    private static readonly Dictionary<uint, ulong> AfterReset = new()
    {
        [Pat] = 0x0007_0406_0007_0406,
        [MiscEnable] = 1,
        [SmBase] = 0x3_0000,
    };

    /// <summary>Reads every saved register the host knows.</summary>
    internal static void Read(KvmFile vp, Dictionary<uint, ulong> values)
    {
        foreach (var msr in Saved)
        {
            if (TryRead(vp, msr, out var value))
            {
                values[msr] = value;
            }
        }
    }

    /// <summary>Sets every saved register: those that a record does not name to their values after reset.</summary>
    internal static void Write(KvmFile vp, Dictionary<uint, ulong> values)
    {
        foreach (var msr in Saved)
        {
            var value = values.TryGetValue(msr, out var given) ? given : AfterReset.GetValueOrDefault(msr);
            TryWrite(vp, msr, value);
        }
    }

    internal static ulong Read(KvmFile vp, uint msr) =>
        TryRead(vp, msr, out var value) ? value : throw new Engine.HypervisorException($"The host's KVM does not give MSR 0x{msr:x}: it is too old.");

    internal static bool TryRead(KvmFile vp, uint msr, out ulong value)
    {
        var request = new OneMsr { Count = 1, Entry = new KvmMsrEntry { Index = msr } };
        var done = vp.Try(KvmRequest.GetMsrs, ref request) == 1;
        value = request.Entry.Data;
        return done;
    }

    internal static bool TryWrite(KvmFile vp, uint msr, ulong value)
    {
        var request = new OneMsr { Count = 1, Entry = new KvmMsrEntry { Index = msr, Data = value } };
        return vp.Try(KvmRequest.SetMsrs, ref request) == 1;
    }

    [StructLayout(LayoutKind.Explicit, Size = 24)]
    private struct OneMsr
    {
        [FieldOffset(0)] internal uint Count;
        [FieldOffset(8)] internal KvmMsrEntry Entry;
    }
}
