using Vitro.Hypervisor.Engine;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Engine;

public sealed class ProcessorChoiceTests
{
    [Fact]
    public void Every_feature_bit_of_every_model_has_a_name()
    {
        var always = new CpuidTable { [1] = new(0, 0, 0, uint.MaxValue), [7, 0] = new(0, 1 << 13, 0, 0), [0x8000_0008] = new(64, 0, 0, 0) };
        foreach (var model in CpuModel.All)
        {
            var missing = CpuidPromise.Missing(model.Cpuid, always);

            Assert.DoesNotContain("bits", missing!, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("x86-64-v2")]
    [InlineData("x86-64-v2,-pcid,-xsave,phys-bits=40,tsc-frequency=2400000000")]
    [InlineData("-pcid")]
    [InlineData("phys-bits=46")]
    public void A_choice_reads_what_it_writes(string text)
    {
        Assert.True(ProcessorChoice.TryParse(text, out var choice, out _));

        Assert.Equal(text, choice.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("x86-64-v2,")]
    [InlineData("x86-64-v2,pcid")]
    [InlineData("x86-64-v2,-")]
    [InlineData("x86-64-v2,-no-such")]
    [InlineData("phys-bits=35")]
    [InlineData("phys-bits=47")]
    [InlineData("tsc-frequency=0")]
    [InlineData("tsc-frequency=-1")]
    [InlineData("tsc-frequency=99999999999999999999")]
    public void What_is_no_choice_is_refused(string text)
    {
        Assert.False(ProcessorChoice.TryParse(text, out _, out var problem));

        Assert.Contains($"'{text[(text.IndexOf(',') + 1)..]}'", problem, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_left_of_a_model_within_a_lesser_host_is_kept_there()
    {
        foreach (var model in CpuModel.All)
        {
            var supported = model.Cpuid.Clone();
            supported[1] = supported[1] with { Ecx = supported[1].Ecx & ~((1u << 17) | (1u << 26)) };
            supported[0x8000_0008] = supported[0x8000_0008] with { Eax = (48 << 8) | 40 };

            var choice = ProcessorChoice.Within(model, supported, 2_400_000_000);
            Assert.True(ProcessorChoice.TryParse(choice.ToString(), out var read, out _));
            var kept = model.Cpuid.Clone();
            read.ApplyTo(kept);

            Assert.Equal($"{model.Name},-pcid,-xsave,phys-bits=40,tsc-frequency=2400000000", choice.ToString());
            Assert.NotNull(CpuidPromise.Missing(model.Cpuid, supported));
            Assert.Null(CpuidPromise.Missing(kept, supported));
            Assert.Equal(40u, kept[0x8000_0008].Eax & 0xFF);
        }
    }

    [Fact]
    public void Without_a_feature_those_that_need_it_are_gone_too()
    {
        foreach (var model in CpuModel.All)
        {
            var cpuid = model.Cpuid.Clone();
            Assert.True(ProcessorChoice.TryParse("-xsave", out var choice, out _));

            choice.ApplyTo(cpuid);

            var vectors = (1u << 12) | (1u << 26) | (1u << 28) | (1u << 29);
            Assert.Equal(0u, cpuid[1].Ecx & vectors);
            Assert.Equal(0u, cpuid[7, 0].Ebx & (1 << 5));
            Assert.Equal([default, default, default], [cpuid[0xD, 0], cpuid[0xD, 1], cpuid[0xD, 2]]);
        }
    }

    [Fact]
    public void Without_AVX_the_area_of_XSAVE_has_no_upper_halves()
    {
        var cpuid = CpuModel.X8664V3.Cpuid.Clone();
        Assert.True(ProcessorChoice.TryParse("-avx", out var choice, out _));

        choice.ApplyTo(cpuid);

        Assert.Equal(3u, cpuid[0xD, 0].Eax);
        Assert.Equal(576u, cpuid[0xD, 0].Ecx);
        Assert.Equal(default, cpuid[0xD, 2]);
        Assert.Equal(0u, cpuid[1].Ecx & ((1u << 12) | (1u << 28) | (1u << 29)));
    }
}
