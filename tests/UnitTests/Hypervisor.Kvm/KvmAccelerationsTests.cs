using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Kvm;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Kvm;

public sealed class KvmAccelerationsTests
{
    [Theory]
    [InlineData(null)]
    [InlineData("")]
    public void All_are_used_unless_told_otherwise(string? setting) => Assert.Equal(new KvmAccelerations(), KvmAccelerations.Choose(setting));

    [Fact]
    public void Those_named_are_left_out()
    {
        Assert.Equal(new KvmAccelerations { DirtyRing = false }, KvmAccelerations.Choose("dirty-ring"));
        Assert.Equal(new KvmAccelerations { DirtyRing = false, CoalescedWrites = false }, KvmAccelerations.Choose("coalesced-writes, dirty-ring"));
        Assert.Equal(new KvmAccelerations { KernelHypercalls = false, IrqFd = false, KernelTimers = false }, KvmAccelerations.Choose("irqfd,kernel-hypercalls,kernel-timers"));
    }

    [Fact]
    public void A_name_that_does_not_exist_is_refused_with_those_that_do()
    {
        var error = Assert.Throws<HypervisorException>(() => KvmAccelerations.Choose("dirty-rings"));
        Assert.Contains("'dirty-rings'", error.Message, StringComparison.Ordinal);
        Assert.Contains("coalesced-writes, dirty-ring, kernel-hypercalls, irqfd or kernel-timers", error.Message, StringComparison.Ordinal);
    }
}
