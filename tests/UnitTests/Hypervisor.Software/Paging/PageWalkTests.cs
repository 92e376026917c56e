using Vitro.Hypervisor.Software;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Software.Paging;

public sealed unsafe class PageWalkTests : IDisposable
{
    private const ulong Present = 1;
    private const ulong Write = 2;
    private const ulong User = 4;
    private const ulong Large = 0x80;
    private const ulong Global = 0x100;
    private const ulong NoExecute = 1UL << 63;
    private const ulong All = Present | Write | User;

    private const ulong Tables = 0x10_0000;
    private const ulong Leaf = Tables + 0x3000;
    private const ulong Linear = 0x5000;
    private const ulong LeafSlot = Leaf + (5 * 8);
    private const ulong Frame = 0x50_0000;

    private readonly TestProcessor _machine = new();

    public PageWalkTests()
    {
        _machine.EnterLongMode();
        _machine.WriteWord(Tables, (Tables + 0x1000) | All);
        _machine.WriteWord(Tables + 0x1000, (Tables + 0x2000) | All);
        _machine.WriteWord(Tables + 0x2000, Leaf | All);
        _machine.Vp.Mmu.FlushAll();
    }

    private VpState* State => _machine.State;

    private Mmu Mmu => _machine.Vp.Mmu;

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData(MmuAccess.Load, MmuPrivilege.Kernel, 0x0u)]
    [InlineData(MmuAccess.Store, MmuPrivilege.Kernel, 0x2u)]
    [InlineData(MmuAccess.Load, MmuPrivilege.User, 0x4u)]
    [InlineData(MmuAccess.Store, MmuPrivilege.User, 0x6u)]
    [InlineData(MmuAccess.Fetch, MmuPrivilege.User, 0x14u)]
    [InlineData(MmuAccess.Fetch, MmuPrivilege.Kernel, 0x10u)]
    internal void A_page_not_present_faults_with_what_was_tried(MmuAccess access, MmuPrivilege privilege, uint error)
    {
        AssertFault(access, privilege, error);
    }

    [Fact]
    public void A_flush_that_another_processor_asks_for_drops_translations_before_the_next_instruction()
    {
        using var machine = new TestProcessor(processors: 2);
        machine.EnterLongMode();
        machine.WriteWord(Tables + 0x2000, Leaf | All);
        machine.WriteWord(LeafSlot, Frame | All);
        machine.WriteWord(Frame, 1);
        machine.WriteWord(Frame + 0x1000, 2);
        machine.Vp.Mmu.FlushAll();

        // mov rax,[0x5000], twice
        machine.Write(TestProcessor.Code, 0x48, 0x8B, 0x04, 0x25, 0, 0x50, 0, 0, 0x48, 0x8B, 0x04, 0x25, 0, 0x50, 0, 0);
        machine.Step();
        Assert.Equal(1u, machine.State->Gpr[0]);
        machine.WriteWord(LeafSlot, (Frame + 0x1000) | All);

        // A call of the other processor, in which neither executes.
        Assert.True(machine.Partition.TryFlushTranslations(1));

        machine.Step();
        Assert.Equal(2u, machine.State->Gpr[0]);
    }

    [Fact]
    public void The_fetch_bit_is_absent_without_no_execute_and_smep()
    {
        State->Efer &= ~(ulong)ControlBits.EferNoExecute;

        AssertFault(MmuAccess.Fetch, MmuPrivilege.Kernel, 0);
    }

    [Fact]
    public void A_user_may_not_touch_a_supervisor_page()
    {
        Map(Present | Write);

        AssertFault(MmuAccess.Load, MmuPrivilege.User, 5);
    }

    [Fact]
    public void A_supervisor_bit_on_any_level_counts()
    {
        Map(All);
        _machine.WriteWord(Tables + 0x1000, (Tables + 0x2000) | Present | Write);

        AssertFault(MmuAccess.Load, MmuPrivilege.User, 5);
    }

    [Fact]
    public void A_user_may_not_write_a_read_only_page()
    {
        Map(Present | User);

        AssertFault(MmuAccess.Store, MmuPrivilege.User, 7);
    }

    [Fact]
    public void A_supervisor_may_not_write_a_read_only_page_under_write_protect()
    {
        Map(Present);

        AssertFault(MmuAccess.Store, MmuPrivilege.Kernel, 3);
    }

    [Fact]
    public void A_supervisor_writes_a_read_only_page_without_write_protect()
    {
        Map(Present);
        State->Cr0 &= ~(ulong)ControlBits.Cr0WriteProtect;

        AssertLeadsTo(MmuAccess.Store, MmuPrivilege.Kernel, Frame);
    }

    [Theory]
    [InlineData(MmuPrivilege.Kernel, 0x11u)]
    [InlineData(MmuPrivilege.User, 0x15u)]
    internal void No_execute_stops_fetches(MmuPrivilege privilege, uint error)
    {
        Map(All | NoExecute);

        AssertFault(MmuAccess.Fetch, privilege, error);
    }

    [Fact]
    public void No_execute_is_a_reserved_bit_while_it_is_not_enabled()
    {
        State->Efer &= ~(ulong)ControlBits.EferNoExecute;
        Map(All | NoExecute);

        AssertFault(MmuAccess.Load, MmuPrivilege.Kernel, 9);
    }

    [Fact]
    public void Address_bits_above_the_width_are_reserved()
    {
        Map(All | (1UL << 50));

        AssertFault(MmuAccess.Load, MmuPrivilege.User, 0xD);
    }

    [Fact]
    public void Smep_stops_supervisor_fetches_from_user_pages()
    {
        State->Cr4 |= ControlBits.Cr4Smep;
        Map(All);

        AssertFault(MmuAccess.Fetch, MmuPrivilege.Kernel, 0x11);
    }

    [Fact]
    public void Smap_stops_supervisor_data_accesses_to_user_pages()
    {
        State->Cr4 |= ControlBits.Cr4Smap;
        Map(All);

        AssertFault(MmuAccess.Load, MmuPrivilege.Kernel, 1);
    }

    [Fact]
    public void The_ac_flag_suspends_smap()
    {
        State->Cr4 |= ControlBits.Cr4Smap;
        Map(All);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.KernelAc, Frame);
    }

    [Fact]
    public void A_load_sets_the_accessed_bits_on_all_levels_and_leaves_the_dirty_bit()
    {
        Map(All);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);

        Assert.Equal(Frame | All | 0x20, _machine.ReadWord(LeafSlot));
        Assert.Equal(Leaf | All | 0x20, _machine.ReadWord(Tables + 0x2000));
        Assert.Equal((Tables + 0x1000) | All | 0x20, _machine.ReadWord(Tables));
    }

    [Fact]
    public void A_store_after_a_load_sets_the_dirty_bit()
    {
        Map(All);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);
        AssertLeadsTo(MmuAccess.Store, MmuPrivilege.User, Frame);

        Assert.Equal(Frame | All | 0x60, _machine.ReadWord(LeafSlot));
    }

    [Fact]
    public void A_faulting_store_does_not_set_the_dirty_bit()
    {
        Map(Present | User);

        AssertFault(MmuAccess.Store, MmuPrivilege.User, 7);

        Assert.Equal(0u, _machine.ReadWord(LeafSlot) & 0x40);
    }

    [Fact]
    public void A_two_megabyte_page_maps_its_whole_length()
    {
        _machine.WriteWord(Tables + 0x2000, 0x60_0000 | All | Large);

        Assert.True(Mmu.TryTranslate(0x12_3456, MmuAccess.Load, MmuPrivilege.Kernel, out var translation));

        Assert.Equal(0x72_3456u, translation.Gpa);
    }

    [Fact]
    public void Low_address_bits_of_a_large_page_are_reserved()
    {
        _machine.WriteWord(Tables + 0x2000, 0x60_2000 | All | Large);

        AssertFault(MmuAccess.Load, MmuPrivilege.Kernel, 9);
    }

    [Fact]
    public void A_one_gigabyte_page_maps_its_whole_length()
    {
        _machine.WriteWord(Tables + 0x1000, All | Large);

        Assert.True(Mmu.TryTranslate(0x52_3456, MmuAccess.Load, MmuPrivilege.Kernel, out var translation));

        Assert.Equal(0x52_3456u, translation.Gpa);
    }

    [Fact]
    public void A_non_canonical_address_raises_general_protection()
    {
        Assert.False(Mmu.TryLoad(0x8000_0000_0000, 8, out _));

        Assert.Equal(Fault.GeneralProtection, State->FaultVector);
        Assert.Equal(0u, State->FaultErrorCode);
    }

    [Fact]
    public void A_page_is_remembered_until_it_is_invalidated()
    {
        Map(All);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);
        _machine.WriteWord(LeafSlot, 0x60_0000 | All);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);
        Mmu.FlushPage(Linear);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, 0x60_0000);
    }

    [Fact]
    public void Invalidating_any_address_of_a_large_page_drops_all_of_it()
    {
        _machine.WriteWord(Tables + 0x2000, 0x60_0000 | All | Large);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, 0x60_5000);
        _machine.WriteWord(Tables + 0x2000, 0x80_0000 | All | Large);

        Mmu.FlushPage(0x1F_0000);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, 0x80_5000);
    }

    [Fact]
    public void Global_translations_of_the_kernel_half_survive_a_change_of_cr3()
    {
        State->Cr4 |= ControlBits.Cr4Pge;
        _machine.WriteWord(Tables + (511 * 8), (Tables + 0x1000) | All);
        Map(All | Global);
        const ulong Upper = 0xFFFF_FF80_0000_5000;
        Assert.True(Mmu.TryTranslate(Upper, MmuAccess.Load, MmuPrivilege.Kernel, out _));
        Map(0);

        Mmu.SwitchContext(0, keep: false);

        Assert.True(Mmu.TryTranslate(Upper, MmuAccess.Load, MmuPrivilege.Kernel, out var translation));
        Assert.Equal(Frame, translation.Gpa);
    }

    [Fact]
    public void A_full_flush_drops_global_translations()
    {
        State->Cr4 |= ControlBits.Cr4Pge;
        Map(All | Global);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.Kernel, Frame);
        Map(0);

        Mmu.FlushAll();

        AssertFault(MmuAccess.Load, MmuPrivilege.Kernel, 0);
    }

    [Fact]
    public void Each_process_context_keeps_its_own_translations()
    {
        Map(All);
        Mmu.SwitchContext(1, keep: false);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);
        _machine.WriteWord(LeafSlot, 0x60_0000 | All);
        Mmu.SwitchContext(2, keep: false);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, 0x60_0000);

        Mmu.SwitchContext(1, keep: true);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);
    }

    [Fact]
    public void Switching_to_a_context_without_keeping_it_drops_its_translations()
    {
        Map(All);
        Mmu.SwitchContext(1, keep: false);
        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, Frame);
        _machine.WriteWord(LeafSlot, 0x60_0000 | All);

        Mmu.SwitchContext(1, keep: false);

        AssertLeadsTo(MmuAccess.Load, MmuPrivilege.User, 0x60_0000);
    }

    [Fact]
    public void Pae_paging_walks_from_the_loaded_directory_pointers()
    {
        State->Efer = ControlBits.EferNoExecute;
        _machine.WriteWord(Tables + 0x4000, (Tables + 0x2000) | Present);
        Map(All);
        Assert.True(Mmu.TryLoadPdptes(Tables + 0x4000));

        AssertLeadsTo(MmuAccess.Store, MmuPrivilege.User, Frame);
    }

    [Fact]
    public void Pae_directory_pointers_with_reserved_bits_are_refused()
    {
        _machine.WriteWord(Tables + 0x4000, (Tables + 0x2000) | All);

        Assert.False(Mmu.TryLoadPdptes(Tables + 0x4000));
    }

    [Fact]
    public void Two_level_paging_walks_32_bit_entries()
    {
        Use32BitPaging();
        _machine.Write(Leaf, BitConverter.GetBytes((uint)(Tables + 0x5000 + All)));
        _machine.Write(Tables + 0x5000 + (5 * 4), BitConverter.GetBytes((uint)(Frame | All)));

        AssertLeadsTo(MmuAccess.Store, MmuPrivilege.User, Frame);

        Assert.Equal((uint)(Frame | All | 0x60), (uint)_machine.ReadWord(Tables + 0x5000 + (5 * 4)));
    }

    [Fact]
    public void Four_megabyte_pages_need_their_enable_bit()
    {
        Use32BitPaging();
        State->Cr4 |= ControlBits.Cr4Pse;
        _machine.Write(Leaf, BitConverter.GetBytes((uint)(0x40_0000 | All | Large)));

        Assert.True(Mmu.TryTranslate(0x30_1234, MmuAccess.Load, MmuPrivilege.User, out var translation));

        Assert.Equal(0x70_1234u, translation.Gpa);
    }

    [Fact]
    public void Without_paging_linear_addresses_are_physical_ones()
    {
        State->Cr0 &= ~ControlBits.Cr0Paging;
        Mmu.FlushAll();

        AssertLeadsTo(MmuAccess.Store, MmuPrivilege.Kernel, Linear);
    }

    private void Use32BitPaging()
    {
        State->Efer = 0;
        State->Cr4 &= ~(ulong)ControlBits.Cr4Pae;
        State->Cr3 = Leaf;
        Mmu.FlushAll();
    }

    private void Map(ulong flags) => _machine.WriteWord(LeafSlot, flags == 0 ? 0 : Frame | flags);

    private void AssertFault(MmuAccess access, MmuPrivilege privilege, uint error)
    {
        Mmu.FlushFirstLevel();
        Assert.False(Mmu.TryTranslate(Linear + 0x123, access, privilege, out _));
        Assert.Equal(Fault.PageFault, State->FaultVector);
        Assert.Equal(error, State->FaultErrorCode);
        Assert.Equal(Linear + 0x123, State->FaultAddress);
        State->FaultVector = -1;
    }

    private void AssertLeadsTo(MmuAccess access, MmuPrivilege privilege, ulong gpa)
    {
        Assert.True(Mmu.TryTranslate(Linear, access, privilege, out var translation));
        Assert.Equal(gpa, translation.Gpa);
        Assert.True(translation.Host != null);
    }
}
