using Vitro.Foundation;
using Vitro.Hypervisor.Tlfs;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class SyntheticMsrTests
{
    [Fact]
    public void The_hypercall_register_reads_back_and_the_page_holds_the_engines_code()
    {
        using var fixture = new TlfsFixture();

        fixture.EnableHypercalls();

        Assert.Equal(TlfsFixture.HypercallPage | 1, fixture.Read(0x4000_0001));
        Assert.Equal(0xC3C1_010Fu, fixture.ReadUInt32(TlfsFixture.HypercallPage));
    }

    [Fact]
    public void Hypercalls_are_off_without_an_identity()
    {
        using var fixture = new TlfsFixture();
        fixture.Write(0x4000_0001, TlfsFixture.HypercallPage | 1);

        Assert.Equal(TlfsFixture.HypercallPage, fixture.Read(0x4000_0001));
        Assert.False(fixture.Interface.TryHypercall(0, default, out _));
    }

    [Fact]
    public void Clearing_the_identity_turns_hypercalls_off()
    {
        using var fixture = new TlfsFixture();
        fixture.EnableHypercalls();

        fixture.Write(0x4000_0000, 0);

        Assert.False(fixture.Interface.TryHypercall(0, default, out _));
    }

    [Fact]
    public void A_locked_hypercall_page_stays_until_reset()
    {
        using var fixture = new TlfsFixture();
        fixture.Write(0x4000_0000, 1);
        fixture.Write(0x4000_0001, TlfsFixture.HypercallPage | 3);
        fixture.Write(0x4000_0001, 0);
        Assert.Equal(TlfsFixture.HypercallPage | 3, fixture.Read(0x4000_0001));

        fixture.Interface.Reset(ResetKind.Warm);

        Assert.Equal(0UL, fixture.Read(0x4000_0001));
    }

    [Theory]
    [InlineData(0x4000_0001u)]
    [InlineData(0x4000_0021u)]
    [InlineData(0x4000_0073u)]
    [InlineData(0x4000_0082u)]
    [InlineData(0x4000_0083u)]
    public void A_page_outside_memory_faults(uint msr)
    {
        using var fixture = new TlfsFixture();
        fixture.Write(0x4000_0000, 1);

        Assert.False(fixture.Write(msr, 0xFFFF_FFFF_F000 | 1));
        Assert.Equal(0UL, fixture.Read(msr));
    }

    [Fact]
    public void Each_processor_reads_its_index()
    {
        using var fixture = new TlfsFixture(processors: 4);

        Assert.Equal(3UL, fixture.Read(0x4000_0002, vp: 3));
    }

    [Fact]
    public void Frequencies_are_those_of_the_partition()
    {
        using var fixture = new TlfsFixture();

        Assert.Equal(2_400_000_000UL, fixture.Read(0x4000_0022));
        Assert.Equal(200_000_000UL, fixture.Read(0x4000_0023));
    }

    [Fact]
    public void The_reference_counter_counts_in_100_ns()
    {
        using var fixture = new TlfsFixture();

        fixture.Time.Advance(TimeSpan.FromMilliseconds(3));

        Assert.Equal(30_000UL, fixture.Read(0x4000_0020));
    }

    [Fact]
    public void Registers_that_do_not_exist_fault()
    {
        using var fixture = new TlfsFixture();

        Assert.False(fixture.Interface.TryReadMsr(0, 0x4000_0030, out _));
        Assert.False(fixture.Write(0x4000_01FF, 0));
        Assert.False(fixture.Write(0x4000_0020, 0));
        Assert.False(fixture.Write(0x4000_0070, 0));
    }

    [Fact]
    public void The_assist_page_is_kept_for_each_processor()
    {
        using var fixture = new TlfsFixture();

        Assert.True(fixture.Write(0x4000_0073, 0x15001, vp: 1));

        Assert.Equal(0x15001UL, fixture.Read(0x4000_0073, vp: 1));
        Assert.Equal(0UL, fixture.Read(0x4000_0073));
    }

    [Fact]
    public void A_crash_with_a_log_is_reported_as_text()
    {
        using var fixture = new TlfsFixture();
        fixture.Gpa.TryWrite(0x5000, "Kernel panic\n\u001b[31mnot syncing\0\0"u8);
        fixture.Write(0x4000_0103, 0x5000);
        fixture.Write(0x4000_0104, 100);

        Assert.Equal(3UL << 62, fixture.Read(0x4000_0105));
        fixture.Write(0x4000_0105, 3UL << 62, vp: 1);

        var crash = Assert.Single(fixture.Crashes);
        Assert.Equal(1, crash.VpIndex);
        Assert.Equal("Kernel panic\n\uFFFD[31mnot syncing", crash.Log);
        Assert.Equal([0, 0, 0, 0x5000, 100], crash.Parameters);
    }

    [Fact]
    public void A_crash_without_a_log_has_its_five_words()
    {
        using var fixture = new TlfsFixture();
        for (var i = 0u; i < 5; i++)
        {
            fixture.Write(0x4000_0100 + i, 7 + i);
        }

        fixture.Write(0x4000_0105, 1UL << 63);

        var crash = Assert.Single(fixture.Crashes);
        Assert.Null(crash.Log);
        Assert.Equal([7, 8, 9, 10, 11], crash.Parameters);
    }

    [Fact]
    public void Endless_crash_reports_are_thinned_out()
    {
        using var fixture = new TlfsFixture();

        for (var i = 0; i < 100_000; i++)
        {
            fixture.Write(0x4000_0105, 1UL << 63);
        }

        Assert.InRange(fixture.Crashes.Count, 1, 30);
    }

    [Fact]
    public void The_reset_register_asks_for_a_reset()
    {
        using var fixture = new TlfsFixture();

        fixture.Write(0x4000_0003, 1);

        Assert.Equal(1, fixture.Resets);
    }

    [Fact]
    public void State_survives_save_and_restore()
    {
        using var fixture = new TlfsFixture();
        fixture.EnableHypercalls();
        fixture.EnableSynic(vp: 1);
        fixture.Write(0x4000_0073, 0x15001, vp: 1);
        fixture.Write(0x4000_0118, 1);
        fixture.Write(0x4000_0102, 99);
        fixture.Ports.TryPostMessage(0, 2, 1, 5, "kept"u8);
        var writer = new SavedStateWriter();
        fixture.Interface.Save(writer);

        using var other = new TlfsFixture(start: false);
        other.Interface.Restore(new SavedStateReader(writer.WrittenSpan.ToArray()));
        other.Interface.Start();

        foreach (var msr in new uint[] { 0x4000_0000, 0x4000_0001, 0x4000_0073, 0x4000_0080, 0x4000_0082, 0x4000_0083, 0x4000_0092, 0x4000_0102, 0x4000_0118 })
        {
            Assert.Equal(fixture.Read(msr, vp: 1), other.Read(msr, vp: 1));
        }

        Assert.Equal(0xC3C1_010Fu, other.ReadUInt32(TlfsFixture.HypercallPage));
        Assert.Equal(1, other.Ports.GetQueuedMessageCount(0, 2));
    }

    [Fact]
    public void State_of_another_machine_is_refused()
    {
        using var fixture = new TlfsFixture(processors: 1);
        var writer = new SavedStateWriter();
        fixture.Interface.Save(writer);
        using var other = new TlfsFixture(processors: 2, start: false);

        Assert.Throws<SavedStateException>(() => other.Interface.Restore(new SavedStateReader(writer.WrittenSpan.ToArray())));
    }

    [Fact]
    public void The_inspect_tree_shows_a_processors_registers()
    {
        using var fixture = new TlfsFixture();
        fixture.EnableSynic(vp: 1);
        var node = new InspectNode();

        fixture.Interface.Inspect(node);

        Assert.Equal("0x20001", node.Find("processors/1/synic/simp"));
    }
}
