using Vitro.Vsp.Integration;
using Xunit;

namespace Vitro.UnitTests.Vsp.Integration;

public sealed class IcProtocolTests
{
    [Fact]
    public void The_header_has_linuxs_layout()
    {
        var bytes = new byte[IcHeader.Size];

        new IcHeader(new(3, 1), IcMessageType.TimeSync, new(4, 2), 22, 0x80004005, 7, IcFlags.Transaction | IcFlags.Request).Write(bytes);

        Assert.Equal("010000002A000000" + "03000100" + "0400" + "04000200" + "1600" + "05400080" + "07" + "03" + "0000", Convert.ToHexString(bytes));
    }

    [Fact]
    public void A_header_reads_back()
    {
        var bytes = new byte[IcHeader.Size];
        var header = new IcHeader(new(3, 1), (IcMessageType)99, new(4, 2), 22, 5, 7, IcFlags.Response);
        header.Write(bytes);

        Assert.True(IcHeader.TryRead(bytes, out var read));

        Assert.Equal(header, read);
    }

    [Fact]
    public void A_short_header_is_refused()
    {
        Assert.False(IcHeader.TryRead(new byte[IcHeader.Size - 1], out _));
    }

    [Fact]
    public void A_negotiation_lists_frameworks_before_messages()
    {
        var body = new byte[IcNegotiation.SizeOf(1, 2)];

        IcNegotiation.Write(body, [new(1, 0)], [new(3, 0), new(3, 2)]);

        Assert.Equal("0100020000000000" + "01000000" + "03000000" + "03000200", Convert.ToHexString(body));
    }
}
