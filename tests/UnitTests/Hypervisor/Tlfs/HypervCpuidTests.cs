using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Tlfs;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class HypervCpuidTests
{
    private readonly CpuidTable _table = new();

    [Fact]
    public void Linux_detects_the_hypervisor()
    {
        _table[1] = new CpuidResult(1, 2, 4, 8);

        HypervCpuid.AddTo(_table, new HypervFeatures());

        Assert.Equal(new CpuidResult(1, 2, 0x8000_0004, 8), _table[1]);
        Assert.Equal("Microsoft Hv"u8, System.Runtime.InteropServices.MemoryMarshal.AsBytes<uint>(
            [_table[0x4000_0000].Ebx, _table[0x4000_0000].Ecx, _table[0x4000_0000].Edx]));
        Assert.InRange(_table[0x4000_0000].Eax, 0x4000_0005u, 0x4000_FFFFu);
        Assert.Equal(0x60u, _table[0x4000_0003].Eax & 0x60);
        Assert.Equal(0x3123_7648u, _table[0x4000_0001].Eax);
    }

    [Fact]
    public void Privileges_that_make_linux_a_root_partition_stay_clear()
    {
        HypervCpuid.AddTo(_table, new HypervFeatures());

        Assert.Equal(0x30u, _table[0x4000_0003].Ebx);
    }

    [Fact]
    public void Features_that_are_off_are_not_announced()
    {
        HypervCpuid.AddTo(_table, new HypervFeatures
        {
            ReferenceTscPage = false,
            FrequencyMsrs = false,
            TscInvariant = false,
            SyntheticTimers = false,
            GuestCrash = false,
        });

        Assert.Equal(0xF6u, _table[0x4000_0003].Eax);
        Assert.Equal(0u, _table[0x4000_0003].Edx);
    }

    [Fact]
    public void Automatic_end_of_interrupt_is_deprecated()
    {
        HypervCpuid.AddTo(_table, new HypervFeatures());

        Assert.Equal(0x220u, _table[0x4000_0004].Eax);
    }

    [Fact]
    public void Another_hypervisors_leaves_are_refused()
    {
        _table[0x4000_0100] = new CpuidResult(1, 1, 1, 1);

        Assert.Throws<ArgumentException>(() => HypervCpuid.AddTo(_table, new HypervFeatures()));
    }

    [Theory]
    [InlineData(true, false, true)]
    [InlineData(false, true, false)]
    public void The_features_can_be_read_back_from_the_leaves(bool timers, bool invariant, bool apic)
    {
        var features = new HypervFeatures
        {
            SyntheticTimers = timers,
            DirectTimers = timers,
            TscInvariant = invariant,
            ReferenceTscPage = invariant,
            FrequencyMsrs = !invariant,
            GuestCrash = timers,
            ApicMsrs = apic,
            ClusterIpi = !apic,
            TlbFlush = apic,
            MaxVirtualProcessors = 7,
        };
        var table = new CpuidTable();
        HypervCpuid.AddTo(table, features);

        Assert.Equal(features, HypervCpuid.FeaturesOf(table));
    }
}
