using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Vitro.VmBus;
using Vitro.VmBus.Protocol;
using Xunit;

namespace Vitro.UnitTests.VmBus;

/// <summary>Offsets as include/linux/hyperv.h has them.</summary>
public sealed class ChannelMessageTests
{
    private readonly byte[] _bytes = new byte[ChannelMessage.MaximumSize];

    [Fact]
    public void Every_message_has_the_size_guests_expect()
    {
        Assert.Equal(196, SizeOf<OfferChannel>());
        Assert.Equal(148, SizeOf<OpenChannel>());
        Assert.Equal(20, SizeOf<OpenChannelResult>());
        Assert.Equal(12, SizeOf<RescindChannelOffer>());
        Assert.Equal(12, SizeOf<CloseChannel>());
        Assert.Equal(12, SizeOf<RelIdReleased>());
        Assert.Equal(16, SizeOf<ModifyChannel>());
        Assert.Equal(16, SizeOf<ModifyChannelResponse>());
        Assert.Equal(20, SizeOf<GpadlHeader>());
        Assert.Equal(16, SizeOf<GpadlBody>());
        Assert.Equal(20, SizeOf<GpadlCreated>());
        Assert.Equal(16, SizeOf<GpadlTeardown>());
        Assert.Equal(12, SizeOf<GpadlTorndown>());
        Assert.Equal(40, SizeOf<InitiateContact>());
        Assert.Equal(16, SizeOf<VersionResponse>());
        Assert.Equal(40, SizeOf<TlConnectRequest>());
        Assert.Equal(44, SizeOf<TlConnectResult>());
    }

    [Fact]
    public void An_offer_has_its_fields_where_guests_look()
    {
        var user = default(UserDefinedData);
        user[0] = 0x55;
        ChannelMessage.Write(_bytes, new OfferChannel
        {
            InterfaceType = VmBusClass.Scsi,
            InstanceId = VmBusClass.Network,
            Flags = VmBusOfferFlags.NamedPipeMode,
            MmioMegabytes = 0x1122,
            UserDefined = user,
            SubChannelIndex = 0x3344,
            ChannelId = 0x55667788,
            MonitorAllocated = 0,
            IsDedicatedInterrupt = 1,
            ConnectionId = 0x99AABBCC,
        });

        Assert.Equal(1u, UInt32(0));
        Assert.Equal(VmBusClass.Scsi, new Guid(_bytes.AsSpan(8, 16)));
        Assert.Equal(VmBusClass.Network, new Guid(_bytes.AsSpan(24, 16)));
        Assert.Equal(0x10, UInt16(56));
        Assert.Equal(0x1122, UInt16(58));
        Assert.Equal(0x55, _bytes[60]);
        Assert.Equal(0x3344, UInt16(180));
        Assert.Equal(0x55667788u, UInt32(184));
        Assert.Equal(0, _bytes[189]);
        Assert.Equal(1, UInt16(190));
        Assert.Equal(0x99AABBCC, UInt32(192));
    }

    [Fact]
    public void An_open_request_has_its_fields_where_guests_put_them()
    {
        var user = default(UserDefinedData);
        user[119] = 0x66;
        ChannelMessage.Write(_bytes, new OpenChannel
        {
            ChannelId = 1,
            OpenId = 2,
            RingGpadl = 3,
            TargetVp = 4,
            DownstreamPageOffset = 5,
            UserData = user,
        });

        Assert.Equal([5u, 0, 1, 2, 3, 4, 5], Enumerable.Range(0, 7).Select(i => UInt32(i * 4)));
        Assert.Equal(0x66, _bytes[147]);
    }

    [Fact]
    public void Contact_and_its_answer_have_their_fields_where_guests_have_them()
    {
        ChannelMessage.Write(_bytes, new InitiateContact(VmBusVersion.V5_3, 7, 0x1122334400000502, 0x10, 0x20));
        Assert.Equal(0x00050003u, UInt32(8));
        Assert.Equal(7u, UInt32(12));
        Assert.Equal(2, _bytes[16]);
        Assert.Equal(0x11223344u, UInt32(20));
        Assert.Equal(0x10u, UInt32(24));
        Assert.Equal(0x20u, UInt32(32));

        ChannelMessage.Write(_bytes, new VersionResponse(1, 2, 0, 4));
        Assert.Equal((1, 2, 4u), (_bytes[8], _bytes[9], UInt32(12)));
    }

    [Fact]
    public void Gpadl_headers_have_their_fields_where_guests_put_them()
    {
        ChannelMessage.Write(_bytes, new GpadlHeader(1, 0xE1E10, 0x2233, 0x4455));

        Assert.Equal((8u, 1u, 0xE1E10u), (UInt32(0), UInt32(8), UInt32(12)));
        Assert.Equal((0x2233, 0x4455), (UInt16(16), UInt16(18)));
        Assert.Equal(GpadlHeader.RangesOffset, SizeOf<GpadlHeader>());
        Assert.Equal(GpadlBody.RangesOffset, SizeOf<GpadlBody>());
    }

    [Fact]
    public void Unknown_values_survive_reading_and_writing()
    {
        new Random(3).NextBytes(_bytes);
        Assert.True(ChannelMessage.TryReadBody<OfferChannel>(_bytes, out var offer));
        var copy = new byte[ChannelMessage.MaximumSize];
        ChannelMessage.Write(copy, in offer);

        Assert.Equal(_bytes[8..196], copy[8..196]);
    }

    [Fact]
    public void A_message_one_byte_short_is_not_read()
    {
        Assert.True(ChannelMessage.TryReadBody<OpenChannel>(_bytes.AsSpan(0, 148), out _));
        Assert.False(ChannelMessage.TryReadBody<OpenChannel>(_bytes.AsSpan(0, 147), out _));
        Assert.False(ChannelMessage.TryReadType(_bytes.AsSpan(0, 7), out _));
    }

    private static int SizeOf<T>()
        where T : unmanaged, IChannelMessageBody => ChannelMessage.HeaderSize + Unsafe.SizeOf<T>();

    private ushort UInt16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(offset));

    private uint UInt32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(offset));
}
