using Vitro.Chipset;
using Vitro.Foundation;
using Xunit;

namespace Vitro.UnitTests.Chipset;

public sealed class LocalApicTests
{
    [Fact]
    public void A_fixed_interrupt_wakes_its_processor_and_is_in_service_until_its_end()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        var apic = machine.Chipset.LocalApics.Apics[0];

        machine.Chipset.LocalApics.SendFixed(0, 0x51);

        Assert.Equal(1, machine.Processors[0].Interrupts);
        Assert.True(apic.HasPendingInterrupt);
        Assert.True(apic.TryAcknowledge(out var vector));
        Assert.Equal(0x51, vector);
        Assert.Equal(1u << 0x11, machine.ReadApic(0x12));
        apic.EndOfInterrupt();
        Assert.Equal(0u, machine.ReadApic(0x12));
    }

    [Fact]
    public void Interrupts_are_taken_by_priority()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        foreach (var vector in new byte[] { 0x31, 0xF3, 0x30, 0x80 })
        {
            machine.Chipset.LocalApics.SendFixed(0, vector);
        }

        Assert.Equal([0xF3, 0x80, 0x31, 0x30], machine.TakeAll());
    }

    [Fact]
    public void An_interrupt_of_the_class_in_service_waits_for_its_end()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        var apic = machine.Chipset.LocalApics.Apics[0];
        machine.Chipset.LocalApics.SendFixed(0, 0x41);
        Assert.True(apic.TryAcknowledge(out _));

        machine.Chipset.LocalApics.SendFixed(0, 0x4F);
        Assert.False(apic.HasPendingInterrupt);
        var signals = machine.Processors[0].Interrupts;
        apic.EndOfInterrupt();

        Assert.True(apic.HasPendingInterrupt);
        Assert.Equal(signals + 1, machine.Processors[0].Interrupts);
    }

    [Fact]
    public void Lowering_the_task_priority_signals_what_it_lets_through()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        var apic = machine.Chipset.LocalApics.Apics[0];
        apic.Cr8 = 8;
        machine.Chipset.LocalApics.SendFixed(0, 0x8F);
        Assert.False(apic.HasPendingInterrupt);
        Assert.Equal(0x80u, machine.ReadApic(0x08));

        apic.Cr8 = 7;

        Assert.True(apic.HasPendingInterrupt);
        Assert.Equal(2, machine.Processors[0].Interrupts);
    }

    [Fact]
    public void An_auto_eoi_interrupt_is_never_in_service()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        var apic = machine.Chipset.LocalApics.Apics[0];
        machine.Chipset.LocalApics.SendFixed(0, 0xF3, autoEoi: true);
        Assert.True(apic.TryAcknowledge(out _));

        machine.Chipset.LocalApics.SendFixed(0, 0xF3);

        Assert.True(apic.TryAcknowledge(out _));
        Assert.Equal(1u << 0x13, machine.ReadApic(0x17));
    }

    [Fact]
    public void A_software_disabled_apic_takes_no_fixed_interrupt_but_takes_nmi()
    {
        using var machine = new ChipsetFixture();

        machine.Chipset.LocalApics.SendFixed(0, 0x51);
        machine.Chipset.LocalApics.Send(0, false, 0, DeliveryMode.Nmi);

        Assert.False(machine.Chipset.LocalApics.Apics[0].HasPendingInterrupt);
        Assert.Equal(1, machine.Processors[0].Nmis);
    }

    [Fact]
    public void Init_resets_the_apic_and_startup_carries_its_page()
    {
        using var machine = new ChipsetFixture(2);
        machine.EnableApics();
        machine.Chipset.LocalApics.SendFixed(1, 0x51);

        machine.WriteApic(0x31, 1u << 24);
        machine.WriteApic(0x30, 0xC500);
        machine.WriteApic(0x30, 0x8500);
        machine.WriteApic(0x30, 0x469A);

        Assert.Equal(1, machine.Processors[1].Inits);
        Assert.Equal([0x9A], machine.Processors[1].Startups);
        Assert.False(machine.Chipset.LocalApics.Apics[1].HasPendingInterrupt);
        Assert.Equal(0xFFu, machine.ReadApic(0x0F, 1));
    }

    [Theory]
    [InlineData(0x4_0040u, new[] { 1 })]
    [InlineData(0x8_0040u, new[] { 0, 1, 2, 3 })]
    [InlineData(0xC_0040u, new[] { 0, 2, 3 })]
    public void Shorthands_reach_whom_they_name(uint command, int[] reached)
    {
        using var machine = new ChipsetFixture(4);
        machine.EnableApics();

        machine.WriteApic(0x30, command, vp: 1);

        Assert.Equal(reached, Enumerable.Range(0, 4).Where(vp => machine.TakeAll(vp).Count == 1));
    }

    [Fact]
    public void Flat_logical_destinations_are_masks()
    {
        using var machine = new ChipsetFixture(4);
        machine.EnableApics();
        for (var vp = 0; vp < 4; vp++)
        {
            machine.WriteApic(0x0D, 1u << (24 + vp), vp);
        }

        machine.Chipset.LocalApics.Send(0b1010, isLogical: true, 0x40);

        Assert.Equal([1, 3], Enumerable.Range(0, 4).Where(vp => machine.TakeAll(vp).Count == 1));
    }

    [Fact]
    public void Cluster_logical_destinations_name_members_of_one_cluster()
    {
        using var machine = new ChipsetFixture(4);
        machine.EnableApics();
        for (var vp = 0; vp < 4; vp++)
        {
            machine.WriteApic(0x0E, 0x0FFF_FFFF, vp);
            machine.WriteApic(0x0D, (uint)((((vp >> 1) << 4) | (1 << (vp & 1))) << 24), vp);
        }

        machine.Chipset.LocalApics.Send(0x13, isLogical: true, 0x40);

        Assert.Equal([2, 3], Enumerable.Range(0, 4).Where(vp => machine.TakeAll(vp).Count == 1));
    }

    [Fact]
    public void X2apic_logical_ids_follow_from_the_apic_id()
    {
        using var machine = new ChipsetFixture(20);
        machine.EnterX2Apic();
        Assert.True(machine.Chipset.TryReadMsr(17, 0x80D, out var logical));
        Assert.Equal(0x1_0002UL, logical);

        Assert.True(machine.Chipset.TryWriteMsr(0, 0x830, (0x1_000AUL << 32) | 0x840));

        Assert.Equal([17, 19], Enumerable.Range(0, 20).Where(vp => machine.TakeAll(vp).Count == 1));
    }

    [Fact]
    public void Lowest_priority_goes_to_one_processor_with_the_lowest_priority()
    {
        using var machine = new ChipsetFixture(3);
        machine.EnableApics();
        machine.Chipset.LocalApics.Apics[0].TaskPriority = 0x50;
        machine.Chipset.LocalApics.Apics[2].TaskPriority = 0x50;

        machine.Chipset.LocalApics.Send(InterruptMessage.Broadcast, false, 0x90, DeliveryMode.LowestPriority);

        Assert.Equal([0, 1, 0], Enumerable.Range(0, 3).Select(vp => machine.TakeAll(vp).Count));
    }

    [Fact]
    public void Equal_processors_share_lowest_priority_interrupts()
    {
        using var machine = new ChipsetFixture(4);
        machine.EnableApics();
        var counts = new int[4];
        for (var i = 0; i < 40; i++)
        {
            machine.Chipset.LocalApics.Send(InterruptMessage.Broadcast, false, 0x90, DeliveryMode.LowestPriority);
            for (var vp = 0; vp < 4; vp++)
            {
                counts[vp] += machine.TakeAll(vp).Count;
            }
        }

        Assert.Equal([10, 10, 10, 10], counts);
    }

    [Fact]
    public void A_message_signalled_interrupt_is_decoded()
    {
        using var machine = new ChipsetFixture(2);
        machine.EnableApics();

        Assert.True(machine.Chipset.LocalApics.SendMsi(0xFEE0_1000, 0x0055));
        Assert.False(machine.Chipset.LocalApics.SendMsi(0xFED0_1000, 0x0055));

        Assert.Equal([0x55], machine.TakeAll(1));
    }

    [Fact]
    public void X2apic_registers_are_msrs_only_in_x2apic_mode()
    {
        using var machine = new ChipsetFixture();
        Assert.False(machine.Chipset.TryReadMsr(0, 0x802, out _));

        machine.EnterX2Apic();

        Assert.True(machine.Chipset.TryReadMsr(0, 0x803, out var version));
        Assert.Equal(0x50014UL, version);
        Assert.Null(machine.Chipset.LocalApics.Apics[0].MmioAddress);
    }

    [Theory]
    [InlineData(0x802u, 0UL)]
    [InlineData(0x80Bu, 1UL)]
    [InlineData(0x808u, 0x100UL)]
    [InlineData(0x80Eu, 0UL)]
    [InlineData(0x831u, 0UL)]
    [InlineData(0x828u, 1UL)]
    [InlineData(0x838u, 0x1_0000_0000UL)]
    [InlineData(0x83Fu, 0x100UL)]
    [InlineData(0x8A0u, 0UL)]
    [InlineData(0x810u, 0UL)]
    public void Writes_the_x2apic_refuses_are_general_protection_faults(uint msr, ulong value)
    {
        using var machine = new ChipsetFixture();
        machine.EnterX2Apic();

        Assert.False(machine.Chipset.TryWriteMsr(0, msr, value));
    }

    [Theory]
    [InlineData(0xFEE0_0900UL, true)]
    [InlineData(0xFEE0_0D00UL, true)]
    [InlineData(0xFEE0_0500UL, false)]
    [InlineData(0xFEE0_0901UL, false)]
    [InlineData(0xFEE0_0100UL, true)]
    public void Apic_base_takes_legal_modes_only(ulong value, bool isLegal)
    {
        using var machine = new ChipsetFixture();

        Assert.Equal(isLegal, machine.Chipset.TryWriteMsr(0, 0x1B, value));
    }

    [Fact]
    public void X2apic_is_left_through_disabled_only()
    {
        using var machine = new ChipsetFixture();
        machine.EnterX2Apic();

        Assert.False(machine.Chipset.TryWriteMsr(0, 0x1B, 0xFEE0_0900));
        Assert.True(machine.Chipset.TryWriteMsr(0, 0x1B, 0xFEE0_0100));
        Assert.False(machine.Chipset.TryWriteMsr(0, 0x1B, 0xFEE0_0D00));
        Assert.True(machine.Chipset.TryWriteMsr(0, 0x1B, 0xFEE0_0900));
    }

    [Fact]
    public void X2apic_cannot_be_entered_where_it_is_not_offered()
    {
        using var machine = new ChipsetFixture(hasX2Apic: false);

        Assert.False(machine.Chipset.TryWriteMsr(0, 0x1B, 0xFEE0_0D00));
    }

    [Fact]
    public void A_moved_register_page_answers_at_its_new_address()
    {
        using var machine = new ChipsetFixture();
        Assert.True(machine.Chipset.TryWriteMsr(0, 0x1B, 0xD000_0900));

        Assert.Equal(0x50014UL, machine.Chipset.ReadMmio(0, 0xD000_0030, 4));
        Assert.Equal(0xFFFF_FFFFUL, machine.Chipset.ReadMmio(0, 0xFEE0_0030, 4));
    }

    [Fact]
    public void Sending_an_illegal_vector_is_an_error_with_its_interrupt()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x37, 0xFE);

        machine.WriteApic(0x30, 0x4_000F);
        machine.WriteApic(0x28, 0);

        Assert.Equal(0x20u, machine.ReadApic(0x28));
        Assert.Equal([0xFE], machine.TakeAll());
    }

    [Fact]
    public void An_unknown_register_is_an_error_and_reads_zero()
    {
        using var machine = new ChipsetFixture();

        Assert.Equal(0u, machine.ReadApic(0x3A));
        machine.WriteApic(0x28, 0);

        Assert.Equal(0x80u, machine.ReadApic(0x28));
    }

    [Fact]
    public void Software_disable_masks_the_local_vectors()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        machine.WriteApic(0x32, 0x40);

        machine.WriteApic(0x0F, 0xFF);

        Assert.Equal(0x1_0040u, machine.ReadApic(0x32));
        machine.WriteApic(0x32, 0x40);
        Assert.Equal(0x1_0040u, machine.ReadApic(0x32));
    }

    [Fact]
    public void A_vector_raised_by_many_threads_is_delivered_and_never_lost()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        var bus = machine.Chipset.LocalApics;
        var apic = bus.Apics[0];
        var taken = new int[256];
        var done = 0;
        var raisers = Enumerable.Range(0, 3).Select(n => new Thread(() =>
        {
            for (var i = 0; i < 20_000; i++)
            {
                bus.SendFixed(0, (byte)(0x20 + ((i * 7) + n) % 200), autoEoi: (i & 1) != 0);
            }

            Interlocked.Increment(ref done);
        })).ToArray();
        Array.ForEach(raisers, raiser => raiser.Start());
        while (Volatile.Read(ref done) < 3 || apic.HasPendingInterrupt)
        {
            if (apic.TryAcknowledge(out var vector))
            {
                taken[vector]++;
                apic.EndOfInterrupt();
            }
        }

        Array.ForEach(raisers, raiser => raiser.Join());
        Assert.All(Enumerable.Range(0x20, 200), vector => Assert.True(taken[vector] > 0));
        Assert.False(apic.HasPendingInterrupt);
    }

    [Fact]
    public void State_survives_saving_and_restoring()
    {
        using var machine = new ChipsetFixture(2);
        machine.EnableApics();
        machine.WriteApic(0x3E, 0xB);
        machine.WriteApic(0x32, 0x2_0041);
        machine.WriteApic(0x38, 200_000);
        machine.Chipset.LocalApics.SendFixed(1, 0x77);
        machine.Chipset.LocalApics.SendFixed(1, 0x78, autoEoi: true);
        Assert.True(machine.Chipset.LocalApics.Apics[1].TryAcknowledge(out _));
        machine.Advance(500_000);
        var saved = machine.SaveState();

        using var other = new ChipsetFixture(2, start: false);
        other.Clock.Pause();
        other.Clock.SetNanoseconds(machine.Clock.Nanoseconds);
        other.Chipset.Restore(new SavedStateReader(saved));
        Assert.Equal(saved, other.SaveState());
        other.Chipset.Start();
        other.Clock.Resume();

        Assert.Equal(100_000u, other.ReadApic(0x39));
        Assert.Equal([0x77], other.TakeAll(1));
        other.Advance(500_000);
        Assert.Equal([0x41], other.TakeAll());
    }

    [Fact]
    public void Damaged_state_is_refused_and_leaves_the_chipset_reset()
    {
        using var machine = new ChipsetFixture();
        machine.EnableApics();
        var writer = new SavedStateWriter();
        writer.Group(1, group =>
        {
            group.Text(1, "lapic0");
            group.Group(2, state => state.Bytes(11, [1, 2, 3]));
        });

        Assert.Throws<SavedStateException>(() => machine.Chipset.Restore(new SavedStateReader(writer.WrittenSpan.ToArray())));

        Assert.Equal(0xFFu, machine.ReadApic(0x0F));
    }
}
