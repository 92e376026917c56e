using Vitro.Hypervisor.Kvm;
using Vitro.KvmTests;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Kvm;

/// <summary>The engine's cases on this host's own KVM, where there is one; the nested proof runs them on every host.</summary>
public sealed class KvmSmokeTests
{
    [Fact]
    public void The_cases_hold_on_this_hosts_kvm()
    {
        var availability = new KvmEngine().Probe();
        Assert.SkipUnless(availability.IsUsable, availability.Reason);
        Assert.Multiple([.. KvmCases.All.Select(one => one.Body)]);
    }
}
