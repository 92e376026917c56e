using CsCheck;
using Vitro.Hypervisor.Tlfs;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class ReferenceTscTests
{
    [Fact]
    public void The_page_gives_the_time_of_the_counter_register()
    {
        using var fixture = new TlfsFixture();
        fixture.Time.Advance(TimeSpan.FromSeconds(1234));
        fixture.Write(0x4000_0021, TlfsFixture.TscPage | 1);
        for (var i = 0; i < 100; i++)
        {
            fixture.Time.Advance(TimeSpan.FromMilliseconds(123.4567));

            Assert.InRange((long)(fixture.Read(0x4000_0020) - ReadPage(fixture)), 0, 1);
        }
    }

    [Fact]
    public async Task The_sequence_changes_when_the_machine_goes_on()
    {
        using var fixture = new TlfsFixture();
        fixture.Write(0x4000_0021, TlfsFixture.TscPage | 1);
        var before = fixture.ReadUInt32(TlfsFixture.TscPage);

        await fixture.Interface.StopAsync();
        fixture.Interface.Start();

        Assert.NotEqual(0u, before);
        Assert.NotEqual(before, fixture.ReadUInt32(TlfsFixture.TscPage));
    }

    [Fact]
    public void A_counter_too_slow_for_the_page_leaves_it_invalid()
    {
        using var fixture = new TlfsFixture { TscFrequency = 10_000_000 };

        Assert.True(fixture.Write(0x4000_0021, TlfsFixture.TscPage | 1));

        Assert.Equal(0u, fixture.ReadUInt32(TlfsFixture.TscPage));
    }

    [Fact]
    public void The_map_is_exact_to_one_unit_and_never_ahead()
    {
        Gen.Select(Gen.ULong[10_000_001, 10_000_000_000], Gen.ULong, Gen.ULong[0, 1UL << 60]).Sample((frequency, tsc, start) =>
        {
            Assert.True(ReferenceTscScale.TryCreate(frequency, 0, start, out var scale));
            var exact = (ulong)((UInt128)tsc * 10_000_000 / frequency) + start;

            Assert.InRange(exact - scale.ToReferenceTime(tsc), 0UL, 1UL);
        });
    }

    [Fact]
    public void The_map_passes_through_the_point_it_was_made_from()
    {
        Gen.Select(Gen.ULong[10_000_001, 10_000_000_000], Gen.ULong, Gen.ULong).Sample((frequency, tsc, time) =>
        {
            Assert.True(ReferenceTscScale.TryCreate(frequency, tsc, time, out var scale));

            Assert.Equal(time, scale.ToReferenceTime(tsc));
        });
    }

    [Fact]
    public void The_map_never_runs_backwards()
    {
        Gen.Select(Gen.ULong[10_000_001, 10_000_000_000], Gen.ULong[0, 1UL << 62], Gen.ULong[0, 1UL << 40]).Sample((frequency, tsc, step) =>
        {
            Assert.True(ReferenceTscScale.TryCreate(frequency, 0, 0, out var scale));

            Assert.True(scale.ToReferenceTime(tsc + step) >= scale.ToReferenceTime(tsc));
        });
    }

    private static ulong ReadPage(TlfsFixture fixture) =>
        Math.BigMul(fixture.ReadTsc(), fixture.ReadUInt64(TlfsFixture.TscPage + 8), out _) + fixture.ReadUInt64(TlfsFixture.TscPage + 16);
}
