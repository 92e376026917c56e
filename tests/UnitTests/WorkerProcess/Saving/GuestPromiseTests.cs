using Vitro.Configuration;
using Vitro.Hypervisor.Engine;
using Vitro.Hypervisor.Software;
using Vitro.Hypervisor.Tlfs;
using Vitro.WorkerProcess.Saving;
using Xunit;

namespace Vitro.UnitTests.WorkerProcess.Saving;

public sealed class GuestPromiseTests
{
    private readonly SoftwareEngine _engine = new();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_engine_keeps_what_it_offers_and_what_another_one_did_not_offer(bool timers)
    {
        foreach (var model in _engine.ProcessorModels)
        {
            Promise(model, new HypervFeatures { SyntheticTimers = timers, DirectTimers = timers }).RequireKeptBy(_engine);
        }
    }

    [Fact]
    public void A_processor_feature_that_the_engine_lacks_is_named()
    {
        var promise = Promise(_engine.ProcessorModels[0], new HypervFeatures());
        promise.Cpuid[7, 0] = promise.Cpuid[7, 0] with { Ebx = promise.Cpuid[7, 0].Ebx | (1 << 16) };

        var error = Assert.Throws<DefinitionException>(() => promise.RequireKeptBy(_engine));

        Assert.Contains("7.0:ebx bits 16", error.Message, StringComparison.Ordinal);
    }

    private GuestPromise Promise(string model, HypervFeatures features)
    {
        Assert.True(_engine.TryGetProcessorModel(model, out var cpuid));
        HypervCpuid.AddTo(cpuid, features);
        return new GuestPromise(cpuid, HypervCpuid.FeaturesOf(cpuid), 1_000_000_000);
    }
}
