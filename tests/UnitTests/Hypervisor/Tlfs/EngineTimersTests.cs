using Vitro.Hypervisor.Engine;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class EngineTimersTests : IDisposable
{
    private const uint Counter = 0x4000_0020;
    private const uint ReferenceTsc = 0x4000_0021;
    private const uint Config = 0x4000_00B0;
    private const uint Count = 0x4000_00B1;
    private const ulong Direct = 0x1 | 0x8 | 0x1000 | (0xEDUL << 4);
    private const ulong Message = 0x1 | 0x8 | (2UL << 16);
    private readonly Engine _engine = new();
    private readonly TlfsFixture _fixture;

    public EngineTimersTests() => _fixture = new TlfsFixture(timers: _engine);

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void An_engine_gets_the_timers_of_a_guest_that_wants_no_messages()
    {
        Assert.True(_engine.Held);

        Assert.True(_fixture.Write(Config, Direct, vp: 1));

        Assert.Equal((Direct, 0UL), _engine.ReadTimer(1, 0));
        Assert.Equal(Direct, _fixture.Read(Config, vp: 1));
    }

    [Fact]
    public void A_timer_that_is_switched_off_stays_the_engines()
    {
        _fixture.Write(Config, 0);
        _fixture.Write(Config, 0x1000 | 0x9);

        Assert.True(_engine.Held);
        Assert.Equal(0x1000UL, _engine.ReadTimer(0, 0).Config);
    }

    [Fact]
    public void A_timer_with_messages_brings_all_of_its_processor_here()
    {
        _engine.WriteTimer(0, 1, Direct, 20_000);

        _fixture.EnableSynic();
        _fixture.Write(Config, Message);
        _fixture.Write(Count, 10_000);

        Assert.False(_engine.Held);
        Assert.Equal((0UL, 0UL), _engine.ReadTimer(0, 1));
        Advance(1);
        Assert.Equal([(0, TlfsFixture.Vector, false)], _fixture.Raised);
        Advance(1);
        Assert.Equal((0, (byte)0xED, false), _fixture.Raised[1]);
    }

    [Fact]
    public void Timers_of_another_processor_follow_when_it_next_reaches_for_one()
    {
        _fixture.Write(Config, Direct, vp: 1);
        _fixture.Write(Config, Message);
        Assert.Equal(Direct, _engine.ReadTimer(1, 0).Config);

        _fixture.Write(Count, 10_000, vp: 1);

        Assert.Equal((0UL, 0UL), _engine.ReadTimer(1, 0));
        Advance(1);
        Assert.Equal([(1, (byte)0xED, false)], _fixture.Raised);
    }

    [Fact]
    public async Task What_an_engine_holds_is_saved_and_given_to_it_again()
    {
        _engine.WriteTimer(1, 2, Direct, 50_000);
        _fixture.Clock.Pause();
        await _fixture.Interface.StopAsync();
        Assert.Equal(Direct, _fixture.Read(Config + 4, vp: 1));
        Assert.Equal((0UL, 0UL), _engine.ReadTimer(1, 2));

        _fixture.Clock.Resume();
        _fixture.Interface.Start();

        Assert.Equal((Direct, 50_000UL), _engine.ReadTimer(1, 2));
    }

    [Fact]
    public void The_reference_time_is_the_engines()
    {
        _engine.ReferenceTime = 777;

        Assert.Equal(777UL, _fixture.Read(Counter));
        Assert.Equal(777UL, _fixture.Clock.ReferenceTime);
    }

    [Fact]
    public async Task A_machine_goes_on_at_the_reference_time_where_it_was_stopped()
    {
        _engine.ReferenceTime = 5_000;
        _fixture.Clock.Pause();
        await _fixture.Interface.StopAsync();
        _engine.ReferenceTime = 90_000;
        Assert.Equal(5_000UL, _fixture.Clock.ReferenceTime);

        _fixture.Clock.Resume();
        _fixture.Interface.Start();

        Assert.Equal(5_000UL, _engine.ReferenceTime);
    }

    [Fact]
    public void The_register_of_the_reference_page_is_passed_on_and_the_page_left_alone()
    {
        Assert.True(_fixture.Write(ReferenceTsc, TlfsFixture.TscPage | 1));

        Assert.Equal(TlfsFixture.TscPage | 1, _engine.Page);
        Assert.Equal(0u, _fixture.ReadUInt32(TlfsFixture.TscPage));
        Assert.Equal(TlfsFixture.TscPage | 1, _fixture.Read(ReferenceTsc));
        Assert.False(_fixture.Write(ReferenceTsc, 0xFFFF_F000 | 1));
    }

    // The engine's time and the fixture's go on together.
    private void Advance(int milliseconds)
    {
        _engine.ReferenceTime += (ulong)milliseconds * 10_000;
        _fixture.Time.Advance(TimeSpan.FromMilliseconds(milliseconds));
    }

    private sealed class Engine : IEngineTimers
    {
        private readonly (ulong Config, ulong Count)[,] _timers = new (ulong, ulong)[2, 4];

        public ulong ReferenceTime { get; set; }

        internal bool Held { get; private set; }

        internal ulong Page { get; private set; }

        public void SetReferenceTime(ulong value) => ReferenceTime = value;

        public bool TrySetReferenceTscPage(int vpIndex, ulong register)
        {
            Page = register;
            return true;
        }

        public void HoldTimers(bool held) => Held = held;

        public (ulong Config, ulong Count) ReadTimer(int vpIndex, int timer) => _timers[vpIndex, timer];

        public void WriteTimer(int vpIndex, int timer, ulong config, ulong count) => _timers[vpIndex, timer] = (config, count);

        public void WriteTimerConfig(int vpIndex, int timer, ulong config) => _timers[vpIndex, timer].Config = config;
    }
}
