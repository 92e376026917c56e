using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Paging;

public sealed unsafe class AlignmentCheckTests : IDisposable
{
    private const uint CheckAlignment = RFlags.Ac;
    private const ulong Linear = 0x5000;
    private readonly TestProcessor _machine = new();

    public AlignmentCheckTests() => _machine.EnterLongMode();

    private VpState* State => _machine.State;

    private Mmu Mmu => _machine.Vp.Mmu;

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void A_program_that_asked_for_it_faults_on_an_operand_off_its_border(int size)
    {
        Select(cpl: 3, mask: true, CheckAlignment);

        Assert.False(Mmu.TryLoad(Linear + 1, size, out _));
        Assert.Equal(Fault.AlignmentCheck, State->FaultVector);
        Assert.Equal(1u, State->FaultHasErrorCode);
        Assert.Equal(0u, State->FaultErrorCode);
    }

    [Fact]
    public void Stores_and_read_modify_writes_are_checked_too()
    {
        Select(cpl: 3, mask: true, CheckAlignment);

        Assert.False(Mmu.TryStore(Linear + 2, 4, 0));
        Assert.Equal(Fault.AlignmentCheck, State->FaultVector);
        State->FaultVector = -1;
        Assert.True(Mmu.BeginRmw(Linear + 2, 4, locked: true) == null);
        Assert.Equal(Fault.AlignmentCheck, State->FaultVector);
    }

    [Fact]
    public void No_access_is_served_without_the_check_while_it_is_on()
    {
        Select(cpl: 3, mask: true, CheckAlignment);

        Assert.Equal(TlbEntry.EmptyTag, State->LoadTlb[5].Tag);
        _ = Mmu.TryLoad(Linear, 8, out _);
        Assert.Equal(TlbEntry.EmptyTag, State->LoadTlb[5].Tag);
    }

    [Theory]
    [InlineData(0u, true, CheckAlignment)]
    [InlineData(3u, false, CheckAlignment)]
    [InlineData(3u, true, 0u)]
    public void Nothing_is_checked_for_the_kernel_or_unless_both_bits_are_set(uint cpl, bool mask, uint flags)
    {
        Select(cpl, mask, flags);

        _ = Mmu.TryLoad(Linear + 1, 8, out _);

        Assert.NotEqual(Fault.AlignmentCheck, State->FaultVector);
    }

    private void Select(uint cpl, bool mask, uint flags)
    {
        State->Cpl = cpl;
        State->Cr0 = mask ? State->Cr0 | ControlBits.Cr0AlignmentMask : State->Cr0 & ~ControlBits.Cr0AlignmentMask;
        State->SystemFlags = (State->SystemFlags & ~CheckAlignment) | flags;
        _machine.Vp.UpdateMode();
    }
}
