using Vitro.Hypervisor.Engine;

namespace Vitro.Hypervisor.Kvm;

/// <summary>The state after a hardware reset (Intel SDM volume 3, table 9-1).</summary>
internal static class ResetState
{
    private const ulong CacheOffExtension = 0x6000_0010;

    internal static VirtualProcessorState Create(int index, uint signature)
    {
        var data = Segment(0, 0, 0x93);
        var state = new VirtualProcessorState
        {
            Rip = 0xFFF0,
            Cs = Segment(0xF000, 0xFFFF_0000, 0x9B),
            Ss = data,
            Ds = data,
            Es = data,
            Fs = data,
            Gs = data,
            Ldtr = Segment(0, 0, 0x82),
            Tr = Segment(0, 0, 0x8B),
            Gdtr = new TableState(0, 0xFFFF),
            Idtr = new TableState(0, 0xFFFF),
            Cr0 = CacheOffExtension,
            Activity = index == 0 ? VpActivity.Running : VpActivity.WaitForStartup,
        };
        state.Gpr[2] = signature;
        state.Dr[6] = 0xFFFF_0FF0;
        state.Dr[7] = 0x400;
        return state;
    }

    private static SegmentState Segment(ushort selector, ulong start, uint attributes) => new(selector, start, 0xFFFF, attributes);
}
