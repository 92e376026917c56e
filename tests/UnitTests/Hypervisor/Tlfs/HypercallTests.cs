using Vitro.Hypervisor.Tlfs;
using Vitro.Hypervisor.Tlfs.Synic;
using Xunit;

namespace Vitro.UnitTests.Hypervisor.Tlfs;

public sealed class HypercallTests : IDisposable
{
    private const ulong PostMessage = 0x5C;
    private const ulong SignalEvent = 0x1_005D;
    private readonly TlfsFixture _fixture = new(processors: 3);
    private readonly Receiver _receiver = new();

    public HypercallTests()
    {
        _fixture.EnableHypercalls();
        _fixture.Ports.RegisterMessagePort(4, _receiver);
        _fixture.Ports.RegisterEventPort(9, _receiver);
    }

    public void Dispose() => _fixture.Dispose();

    [Fact]
    public void A_posted_message_reaches_its_port()
    {
        _fixture.WriteMessage(4, 1, "hello"u8);

        Assert.Equal(0UL, _fixture.Hypercall(PostMessage, TlfsFixture.Input, vp: 1));

        var message = Assert.Single(_receiver.Messages);
        Assert.Equal((1, 1u), (message.Vp, message.Type));
        Assert.Equal("hello"u8, message.Payload);
    }

    [Fact]
    public void A_port_that_is_full_makes_the_guest_try_again()
    {
        _receiver.Answer = HypercallStatus.InsufficientBuffers;
        _fixture.WriteMessage(4, 1, "hello"u8);

        Assert.Equal(19UL, _fixture.Hypercall(PostMessage, TlfsFixture.Input));
    }

    [Fact]
    public void An_unknown_connection_is_refused()
    {
        _fixture.WriteMessage(5, 1, default);

        Assert.Equal(18UL, _fixture.Hypercall(PostMessage, TlfsFixture.Input));
        Assert.Equal(18UL, _fixture.Hypercall(SignalEvent, 10));
    }

    [Fact]
    public void An_unregistered_connection_is_refused()
    {
        _fixture.Ports.UnregisterEventPort(9);

        Assert.Equal(18UL, _fixture.Hypercall(SignalEvent, 9));
    }

    [Theory]
    [InlineData(1u, 241, 5UL)]
    [InlineData(0u, 1, 5UL)]
    [InlineData(0x8000_0010u, 1, 5UL)]
    [InlineData(1u, 240, 0UL)]
    [InlineData(1u, 0, 0UL)]
    public void Message_parameters_are_checked(uint type, int size, ulong status)
    {
        _fixture.WriteMessage(4, type, new byte[size]);

        Assert.Equal(status, _fixture.Hypercall(PostMessage, TlfsFixture.Input));
    }

    [Theory]
    [InlineData(0x2UL, 0UL)]
    [InlineData(0x13UL, 0UL)]
    [InlineData(0x5_0000_0003UL, 0x5_0000_0000UL)]
    [InlineData(0x5_0000_0014UL, 0x5_0000_0000UL)]
    public void Translations_are_flushed_with_every_element_done(ulong control, ulong result)
    {
        Assert.Equal(result, _fixture.Hypercall(control, TlfsFixture.Input, vp: 2));
        Assert.Equal([2], _fixture.Flushes);
    }

    [Theory]
    [InlineData(0x3UL, TlfsFixture.Input, 3UL)]
    [InlineData(0x1_0000_0002UL, TlfsFixture.Input, 3UL)]
    [InlineData(0x1_0002UL, TlfsFixture.Input, 3UL)]
    [InlineData(0x2UL, TlfsFixture.Input + 4, 4UL)]
    [InlineData(0x5_0000_0003UL, TlfsFixture.Input + 0xFF0, 4UL)]
    public void A_flush_that_is_malformed_flushes_nothing(ulong control, ulong input, ulong status)
    {
        Assert.Equal(status, _fixture.Hypercall(control, input));
        Assert.Empty(_fixture.Flushes);
    }

    [Fact]
    public void A_flush_that_the_engine_cannot_do_is_an_unknown_call()
    {
        _fixture.CanFlush = false;

        Assert.Equal(2UL, _fixture.Hypercall(0x5_0000_0003, TlfsFixture.Input));
    }

    [Theory]
    [InlineData(TlfsFixture.Input + 4)]
    [InlineData(TlfsFixture.Input + 0xFF8)]
    [InlineData(TlfsFixture.Input + 0xFE0)]
    [InlineData(0xFFFF_FFFF_0000UL)]
    public void A_parameter_block_is_aligned_within_one_page_of_memory(ulong address)
    {
        _fixture.WriteMessage(4, 1, new byte[100], address);

        Assert.Equal(4UL, _fixture.Hypercall(PostMessage, address));
    }

    [Fact]
    public void A_signal_reaches_its_port_with_its_flag_number()
    {
        Assert.Equal(0UL, _fixture.Hypercall(SignalEvent, 9 | (3UL << 32)));

        Assert.Equal([3], _receiver.Signals);
    }

    [Fact]
    public void A_signal_may_come_through_memory()
    {
        _fixture.WriteUInt64(TlfsFixture.Input, 9);

        Assert.Equal(0UL, _fixture.Hypercall(0x5D, TlfsFixture.Input));

        Assert.Equal([0], _receiver.Signals);
    }

    [Fact]
    public void Unknown_calls_are_refused()
    {
        Assert.Equal(2UL, _fixture.Hypercall(0x7777));
    }

    [Fact]
    public void Repeats_of_a_simple_call_are_refused()
    {
        Assert.Equal(3UL, _fixture.Hypercall(SignalEvent | (1UL << 32), 9));
    }

    [Fact]
    public void An_interrupt_goes_to_each_processor_of_a_mask()
    {
        Assert.Equal(0UL, _fixture.Hypercall(0x1_000B, 0x40, 0b1101));

        Assert.Equal([(0, (byte)0x40, false), (2, (byte)0x40, false)], _fixture.Raised);
    }

    [Fact]
    public void An_interrupt_goes_to_each_processor_of_a_sparse_set()
    {
        _fixture.WriteUInt64(TlfsFixture.Input, 0x41);
        _fixture.WriteUInt64(TlfsFixture.Input + 8, 0);
        _fixture.WriteUInt64(TlfsFixture.Input + 16, 0b101);
        _fixture.WriteUInt64(TlfsFixture.Input + 24, 0b10);
        _fixture.WriteUInt64(TlfsFixture.Input + 32, ulong.MaxValue);

        Assert.Equal(0UL, _fixture.Hypercall(0x15, TlfsFixture.Input));

        Assert.Equal([(1, (byte)0x41, false)], _fixture.Raised);
    }

    [Fact]
    public void An_exceptions_vector_cannot_be_sent()
    {
        Assert.Equal(5UL, _fixture.Hypercall(0x1_000B, 8, 1));
    }

    [Fact]
    public void A_signal_allocates_nothing()
    {
        _receiver.Signals.Capacity = 4096;
        _fixture.Hypercall(SignalEvent, 9);
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
        {
            _fixture.Hypercall(SignalEvent, 9);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private sealed class Receiver : IMessagePort, IEventPort
    {
        internal List<(int Vp, uint Type, byte[] Payload)> Messages { get; } = [];

        internal List<int> Signals { get; } = [];

        internal HypercallStatus Answer { get; set; }

        public HypercallStatus OnMessage(int vpIndex, uint messageType, ReadOnlySpan<byte> payload)
        {
            Messages.Add((vpIndex, messageType, payload.ToArray()));
            return Answer;
        }

        public void OnSignal(int flag) => Signals.Add(flag);
    }
}
