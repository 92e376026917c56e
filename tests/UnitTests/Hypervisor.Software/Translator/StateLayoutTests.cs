using Xunit;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Software.Translator;

namespace Vitro.UnitTests.Hypervisor.Software.Translator;

/// <summary>The distances that emitted code has as constants are those of the state's fields.</summary>
public sealed unsafe class StateLayoutTests
{
    [Fact]
    public void Constants_are_the_places_of_the_fields()
    {
        VpState state;
        var start = (byte*)&state;
        (string Name, int Constant, long Place)[] all =
        [
            (nameof(StateLayout.Requests), StateLayout.Requests, (byte*)&state.Requests - start),
            (nameof(StateLayout.LoadTlb), StateLayout.LoadTlb, (byte*)&state.LoadTlb - start),
            (nameof(StateLayout.StoreTlb), StateLayout.StoreTlb, (byte*)&state.StoreTlb - start),
            (nameof(StateLayout.Parked), StateLayout.Parked, (byte*)&state.Parked - start),
            (nameof(StateLayout.ParkedFlags), StateLayout.ParkedFlags, (byte*)&state.ParkedFlags - start),
            (nameof(StateLayout.ParkedRax), StateLayout.ParkedRax, (byte*)&state.ParkedRax - start),
            (nameof(StateLayout.FirstWindow), StateLayout.FirstWindow, (byte*)state.Windows - start),
            (nameof(StateLayout.ExitRecord), StateLayout.ExitRecord, (byte*)&state.ExitRecord - start),
            (nameof(StateLayout.HostStack), StateLayout.HostStack, (byte*)&state.HostStack - start),
            (nameof(StateLayout.InstructionCount), StateLayout.InstructionCount, (byte*)&state.InstructionCount - start),
            (nameof(StateLayout.FlagLeft), StateLayout.FlagLeft, (byte*)&state.FlagLeft - start),
            (nameof(StateLayout.FlagOperation), StateLayout.FlagOperation, (byte*)&state.FlagOperation - start),
            (nameof(StateLayout.SystemFlags), StateLayout.SystemFlags, (byte*)&state.SystemFlags - start),
            (nameof(StateLayout.FsBase), StateLayout.FsBase, (byte*)&state.Fs.Base - start),
            (nameof(StateLayout.GsBase), StateLayout.GsBase, (byte*)&state.Gs.Base - start),
            (nameof(StateLayout.Mode), StateLayout.Mode, (byte*)&state.Mode - start),
            (nameof(StateLayout.Cr4), StateLayout.Cr4, (byte*)&state.Cr4 - start),
            (nameof(StateLayout.Xcr0), StateLayout.Xcr0, (byte*)&state.Xcr0 - start),
            (nameof(StateLayout.Xsave), StateLayout.Xsave, (byte*)&state.Xsave - start),
            (nameof(StateLayout.VectorsAbsent), StateLayout.VectorsAbsent, (byte*)&state.VectorsAbsent - start),
            (nameof(StateLayout.AvxAbsent), StateLayout.AvxAbsent, (byte*)&state.AvxAbsent - start),
            (nameof(StateLayout.X87Absent), StateLayout.X87Absent, (byte*)&state.X87Absent - start),
            (nameof(StateLayout.X87Opcode), StateLayout.X87Opcode, (byte*)&state.X87Opcode - start),
            (nameof(StateLayout.X87Instruction), StateLayout.X87Instruction, (byte*)&state.X87Instruction - start),
            (nameof(StateLayout.X87Data), StateLayout.X87Data, (byte*)&state.X87Data - start),
            (nameof(StateLayout.UppersInUse), StateLayout.UppersInUse, (byte*)&state.UppersInUse - start),
            (nameof(StateLayout.KernelGsBase), StateLayout.KernelGsBase, (byte*)&state.KernelGsBase - start),
            (nameof(StateLayout.DeferredRequests), StateLayout.DeferredRequests, (byte*)&state.DeferredRequests - start),
            (nameof(StateLayout.InterruptShadow), StateLayout.InterruptShadow, (byte*)&state.InterruptShadow - start),
            (nameof(StateLayout.KernelLoadTlb), StateLayout.KernelLoadTlb, (byte*)&state.KernelLoadTlb - start),
            (nameof(StateLayout.KernelStoreTlb), StateLayout.KernelStoreTlb, (byte*)&state.KernelStoreTlb - start),
            (nameof(StateLayout.SuspendedLoadTlb), StateLayout.SuspendedLoadTlb, (byte*)&state.SuspendedLoadTlb - start),
            (nameof(StateLayout.SuspendedStoreTlb), StateLayout.SuspendedStoreTlb, (byte*)&state.SuspendedStoreTlb - start),
            (nameof(StateLayout.UserLoadTlb), StateLayout.UserLoadTlb, (byte*)&state.UserLoadTlb - start),
            (nameof(StateLayout.UserStoreTlb), StateLayout.UserStoreTlb, (byte*)&state.UserStoreTlb - start),
            (nameof(StateLayout.UserFetchTlb), StateLayout.UserFetchTlb, (byte*)&state.UserFetchTlb - start),
            (nameof(StateLayout.KernelFetchTlb), StateLayout.KernelFetchTlb, (byte*)&state.KernelFetchTlb - start),
            (nameof(StateLayout.FetchTlb), StateLayout.FetchTlb, (byte*)&state.FetchTlb - start),
            (nameof(StateLayout.FirstTableMode), StateLayout.FirstTableMode, (byte*)state.TableModes - start),
            (nameof(StateLayout.Cpl), StateLayout.Cpl, (byte*)&state.Cpl - start),
            (nameof(StateLayout.Efer), StateLayout.Efer, (byte*)&state.Efer - start),
            (nameof(StateLayout.Star), StateLayout.Star, (byte*)&state.Star - start),
            (nameof(StateLayout.Lstar), StateLayout.Lstar, (byte*)&state.Lstar - start),
            (nameof(StateLayout.SyscallMask), StateLayout.SyscallMask, (byte*)&state.SyscallMask - start),
            (nameof(StateLayout.GdtBase), StateLayout.GdtBase, (byte*)&state.GdtBase - start),
            (nameof(StateLayout.GdtLimit), StateLayout.GdtLimit, (byte*)&state.GdtLimit - start),
            (nameof(StateLayout.HasHostClock), StateLayout.HasHostClock, (byte*)&state.HasHostClock - start),
            (nameof(StateLayout.HostClockOrigin), StateLayout.HostClockOrigin, (byte*)&state.HostClockOrigin - start),
            (nameof(StateLayout.TscFrequency), StateLayout.TscFrequency, (byte*)&state.TscFrequency - start),
            (nameof(StateLayout.TscBase), StateLayout.TscBase, (byte*)&state.TscBase - start),
            (nameof(StateLayout.TscOffset), StateLayout.TscOffset, (byte*)&state.TscOffset - start),
            (nameof(StateLayout.TscAux), StateLayout.TscAux, (byte*)&state.TscAux - start),
            (nameof(StateLayout.NmiBlocked), StateLayout.NmiBlocked, (byte*)&state.NmiBlocked - start),
            (nameof(StateLayout.Cr0), StateLayout.Cr0, (byte*)&state.Cr0 - start),
            (nameof(StateLayout.Cr2), StateLayout.Cr2, (byte*)&state.Cr2 - start),
            (nameof(StateLayout.Cr3), StateLayout.Cr3, (byte*)&state.Cr3 - start),
            (nameof(StateLayout.FirstPageSlot), StateLayout.FirstPageSlot, (byte*)state.PageSlots - start),
            (nameof(StateLayout.SlotRax), StateLayout.SlotRax, (byte*)&state.SlotRax - start),
            (nameof(StateLayout.SlotRdx), StateLayout.SlotRdx, (byte*)&state.SlotRdx - start),
            (nameof(StateLayout.SlotReturn), StateLayout.SlotReturn, (byte*)&state.SlotReturn - start),
            (nameof(StateLayout.FirstSelector), StateLayout.FirstSelector, (byte*)&state.Es.Selector - start),
        ];
        var wrong = all.Where(one => one.Constant != one.Place - StateLayout.Bias)
            .Select(one => $"public const int {one.Name} = {one.Place - StateLayout.Bias};");
        Assert.True(!wrong.Any(), "In StateLayout it has to be:\n" + string.Join('\n', wrong));
    }
}
