using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Kvm;

public sealed class KvmTimeStampCounterTests
{
    [Theory]
    [InlineData(1_000_000_000, 1_000_000_000, 5_000)]
    [InlineData(1_000_000_000, 2_500_000_000, 2_000)]
    [InlineData(3_000_000_000, 2_000_000_000, 7_500)]
    public void A_scaled_counter_passes_at_the_guests_rate(ulong frequency, ulong hostFrequency, ulong expected) =>
        Assert.Equal(40 + expected, KvmTimeStampCounter.At(40, 1_000, 6_000, frequency, hostFrequency));

    [Fact]
    public void A_month_of_ticks_does_not_run_over()
    {
        const ulong month = 30UL * 86_400 * 3_000_000_000;

        Assert.Equal(month / 3, KvmTimeStampCounter.At(0, 0, month, 1_000_000_000, 3_000_000_000));
    }

    [Theory]
    [InlineData(2_000_000_000, 2_000_400_000, true)]
    [InlineData(2_000_400_000, 2_000_000_000, true)]
    [InlineData(2_000_000_000, 2_001_000_000, false)]
    [InlineData(1_000_000_000, 2_000_000_000, false)]
    public void Rates_are_the_same_within_what_hosts_measure(ulong one, ulong other, bool same) => Assert.Equal(same, TscRate.IsSame(one, other));
}
